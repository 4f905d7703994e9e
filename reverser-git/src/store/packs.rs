//! The packs of a store: written, counted, opened again when they were joined.

use crate::{
    objects::Objects,
    pack::Pack,
    sink::SinkError,
    store::{
        Store,
        disk::{count_packs, sync_folder, write_synced},
    },
};

impl Store {
    /// Opens the object database again, after packs were joined.
    pub(crate) fn reopen(&mut self) -> Result<(), SinkError> {
        self.objects = Objects::open(&self.git_dir)?;
        self.packs = count_packs(&self.git_dir).map_err(|error| self.failed("count the packs of", error))?;
        Ok(())
    }

    pub(crate) fn packs(&self) -> usize {
        self.packs
    }

    pub(super) fn write_pack(&mut self) -> Result<(), SinkError> {
        let objects = self.objects.take_added();
        let failed = |error| self.failed("write a pack into", error);
        let pack = Pack::new(&objects).map_err(|source| SinkError::Store {
            action: "write a pack into",
            sink: self.name(),
            source,
        })?;
        let folder = self.git_dir.join("objects/pack");
        // The index last: a pack is there once it has one.
        for (extension, content) in [("pack", &pack.pack), ("idx", &pack.index)] {
            let target = folder.join(format!("pack-{}.{extension}", pack.name));
            write_synced(&folder.join(format!("tmp_reverser.{extension}")), &target, content).map_err(failed)?;
        }
        sync_folder(&folder).map_err(failed)?;
        self.packs += 1;
        Ok(())
    }
}
