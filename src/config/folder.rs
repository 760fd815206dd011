//! Where settings come from: paths beside the file, secrets inline or in files of their own.

use std::path::{Path, PathBuf};

use crate::model::Secret;
use crate::yaml::{Fields, Item};

/// Largest file with a secret or a certificate.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where relative paths begin: the folder of the settings' file.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    folder: PathBuf,
}

impl Folder {
    /// Returns the folder of a file's settings.
    pub(super) fn beside(file: &Path) -> Self {
        Folder { folder: file.parent().map(Path::to_owned).unwrap_or_default() }
    }

    /// Returns a path as seen from the settings' file.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }

    /// Reads the path under a key.
    pub(super) fn path_of(&self, fields: &Fields<'_>, key: &str) -> Option<PathBuf> {
        Some(self.path(&fields.string(key)?))
    }

    /// Reads a secret that is either under `key` or in the file under `file_key`; that file is read now.
    pub(super) fn secret(&self, fields: &Fields<'_>, key: &'static str, file_key: &'static str) -> Option<Secret> {
        match (fields.get(key), fields.get(file_key)) {
            (Some(_), Some(file)) => file.mistake(format!("{key} and {file_key} exclude each other")),
            (Some(inline), None) => inline.secret(),
            (None, Some(file)) => {
                let path = self.path(&file.string()?);
                self.read(&file, &path).map(|text| Secret::new(text.trim()))
            }
            (None, None) => None,
        }
    }

    /// Reads a small file that the settings name; a mistake at `item` if that fails.
    pub(super) fn read(&self, item: &Item<'_>, path: &Path) -> Option<String> {
        use std::io::Read;

        let mut text = String::new();
        let read = std::fs::File::open(path).and_then(|f| f.take(FILE_BYTES_MAX).read_to_string(&mut text));
        match read {
            Ok(_) => Some(text),
            Err(error) => item.mistake(format!("cannot read {}: {error}", path.display())),
        }
    }
}
