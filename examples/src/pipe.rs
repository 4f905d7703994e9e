//! Sanitizing in a pipe with the pure core alone: no runtime, no files, no cluster.
//!
//! ```text
//! kubectl get deploy,svc -o yaml ─► Documents ─► Sanitizer ─► YAML
//! ```

use std::io::{Read, Write};

use reverser_core::{
    Sanitizer,
    yaml::{self, Documents},
};

/// Writes a manifest for each object that comes in, as soon as it is whole, until the end of `input` or the first
/// document that can't be read.
pub fn run(mut input: impl Read, mut output: impl Write) -> anyhow::Result<()> {
    let sanitizer = Sanitizer::faithful();
    let mut documents = Documents::new();
    let mut chunk = [0; 8 << 10];
    loop {
        let length = input.read(&mut chunk)?;
        if length > 0 {
            documents.push(&chunk[..length]);
        } else {
            documents.finish();
        }
        while let Some(document) = documents.next_document() {
            for object in document.objects()? {
                write!(output, "---\n{}", yaml::to_string(&sanitizer.clean(object)))?;
            }
        }
        if length == 0 {
            return Ok(());
        }
    }
}
