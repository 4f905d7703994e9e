//! What is logged while a test runs.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// All that is logged on this thread, which is the only one of a test's runtime.
pub(crate) struct Log {
    text: Text,
    _until: DefaultGuard,
}

impl Log {
    pub(crate) fn begin() -> Self {
        let text = Text::default();
        let subscriber =
            tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(text.clone()).finish();
        let until = tracing::subscriber::set_default(subscriber);
        // What another thread has found nobody to be interested in is asked again.
        tracing::callsite::rebuild_interest_cache();
        Self { text, _until: until }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.text.0.lock().unwrap().clone()).unwrap()
    }
}

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Text {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
