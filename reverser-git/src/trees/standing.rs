//! What a put meets at its path.

use crate::{
    objects::Objects,
    sink::{Obstacle, SinkError},
    trees::{FOLDER, File, Folder, SUBMODULE, split},
};

/// What stands at a path, or in its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    File(File),
    Folder,
    Nothing,
    /// An entry that isn't a folder stands where one would have to be: at the path's first so many bytes.
    Under(File, usize),
}

/// An entry that is nobody's to replace: whoever made it works with what is behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blocked {
    pub(crate) at: Vec<u8>,
    pub(crate) obstacle: Obstacle,
}

impl File {
    fn obstacle(self) -> Obstacle {
        if self.mode == SUBMODULE { Obstacle::Submodule } else { Obstacle::SymbolicLink }
    }
}

impl Folder {
    /// Returns what stands at a path, or in its way.
    pub(crate) fn standing(&mut self, path: &[u8], objects: &Objects) -> Result<Standing, SinkError> {
        let entries = self.load(objects)?;
        let (name, rest) = split(path);
        // Folders first: on the way to a file, each has been looked into before.
        if let Some(rest) = rest
            && let Some(folder) = entries.folder(name)
        {
            return Ok(match folder.standing(rest, objects)? {
                Standing::Under(file, length) => Standing::Under(file, name.len() + 1 + length),
                other => other,
            });
        }
        Ok(match (entries.rows.get(name), rest) {
            (None, _) => Standing::Nothing,
            (Some(row), None) if row.mode == FOLDER => Standing::Folder,
            (Some(row), None) => Standing::File(row),
            (Some(row), Some(_)) => Standing::Under(row, name.len()),
        })
    }

    /// Returns the symbolic link or submodule that a put at `path` would replace, or lead through.
    pub(crate) fn blocked(
        &mut self,
        path: &[u8],
        standing: Standing,
        objects: &Objects,
    ) -> Result<Option<Blocked>, SinkError> {
        let blocked = |at: &[u8], file: File| Blocked { at: at.to_vec(), obstacle: file.obstacle() };
        Ok(match standing {
            Standing::File(file) if !file.is_regular() => Some(blocked(path, file)),
            Standing::Under(file, length) if !file.is_regular() => Some(blocked(&path[..length], file)),
            Standing::Folder => {
                let mut first = None;
                self.walk(path, objects, &mut |at, file| {
                    if first.is_none() && !file.is_regular() {
                        first = Some(blocked(at, file));
                    }
                })?;
                first
            }
            Standing::File(_) | Standing::Nothing | Standing::Under(..) => None,
        })
    }
}
