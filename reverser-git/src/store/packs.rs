//! The packs of a store: written, counted, opened again when they were joined.

use crate::{
    objects::Objects,
    pack::Pack,
    sink::SinkError,
    store::{
        Store,
        disk::{count_packs, write_pack_files},
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
        let pack = Pack::new(&objects, self.objects.format(), self.compression).map_err(|source| SinkError::Store {
            action: "write a pack into",
            sink: self.name(),
            source,
        })?;
        write_pack_files(&self.git_dir, &self.branch, &pack.name.to_string(), &pack.pack, &pack.index)
            .map_err(failed)?;
        self.packs += 1;
        Ok(())
    }
}
