//! How long it takes to find out that nothing differs.

use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

use reverser_core::{CommitPlan, Edit};
use reverser_git::{Batch, GitSink, Outcome, testing::blob_id};

use crate::{
    Size,
    bed::{self, Bed, Layout},
    print,
};

/// A batch with every file as it stands there, against hashing the same contents.
pub(crate) async fn unchanged(size: Size) {
    let files = size.files[2];
    let bed = Bed::with_files(Layout::Spread, files).await;
    let (mut compared, mut hashed) = (Duration::MAX, Duration::MAX);
    for _ in 0..size.turns {
        // As at a start: nothing is loaded.
        let writer = bed.start().await;
        let plan = whole(files);
        let started = Instant::now();
        for edit in &plan.edits {
            if let Edit::Put { content, .. } = edit {
                black_box(blob_id(content));
            }
        }
        hashed = hashed.min(started.elapsed());
        let started = Instant::now();
        let receipt = writer.commit(Batch { plans: vec![plan], cursors: BTreeMap::new() }).await.unwrap();
        compared = compared.min(started.elapsed());
        assert_eq!(receipt.outcomes, [Outcome::Unchanged]);
        bed.close(writer).await;
    }
    print(&format!(
        "{files} unchanged files compared with HEAD: {compared:.0?}, hashing them {hashed:.0?}; ratio {:.2} (limit 2.5)",
        compared.div_duration_f64(hashed)
    ));
}

fn whole(files: usize) -> CommitPlan {
    let mut plan = bed::plans(1, 0, |_| bed::put("x", String::new())).remove(0);
    plan.edits = (0..files).map(|n| bed::put(&Layout::Spread.path(n, files), bed::content(n, 0))).collect();
    plan
}
