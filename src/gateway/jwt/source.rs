//! Where keys come from, and reading them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Key;
use crate::model::Secret;

/// Largest file with keys.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A place of the settings that gives keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A shared secret that stands there.
    Secret(Secret),
    /// A shared secret in a file.
    SecretFile(PathBuf),
    /// A public key in PEM.
    PublicKey(PathBuf),
    /// A set of keys, JWKS.
    Set(PathBuf),
}

/// Keys, and where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub(super) origin: Origin,
    /// At least one.
    pub(super) keys: Vec<Arc<Key>>,
}

impl Source {
    /// Reads the keys of a place. Blocks.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn read(origin: Origin) -> Result<Source, String> {
        let keys = match &origin {
            Origin::Secret(secret) => vec![Key::from_secret(secret)?],
            Origin::SecretFile(file) => vec![Key::from_secret(&Secret::new(text(file)?.trim()))?],
            Origin::PublicKey(file) => {
                let key = Key::from_pem(&text(file)?);
                vec![key.map_err(|why| format!("is no public key: {why}"))?]
            }
            Origin::Set(file) => {
                let keys = Key::from_jwks(&text(file)?);
                keys.map_err(|why| format!("is no set of keys: {why}"))?
            }
        };
        Ok(Source { origin, keys: keys.into_iter().map(Arc::new).collect() })
    }

    /// Returns the file, if it is one.
    pub(in crate::gateway) fn file(&self) -> Option<&Path> {
        match &self.origin {
            Origin::Secret(_) => None,
            Origin::SecretFile(file) | Origin::PublicKey(file) | Origin::Set(file) => Some(file),
        }
    }

    /// Reads the keys again; if that fails they stay as they are. Blocks.
    pub(in crate::gateway) fn read_again(&mut self) -> Result<(), String> {
        let read = Source::read(self.origin.clone());
        let path = self.file().unwrap_or(Path::new("")).display();
        self.keys = read.map_err(|why| format!("{path}: {why}"))?.keys;
        Ok(())
    }
}

fn text(file: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|f| f.take(FILE_BYTES_MAX).read_to_string(&mut text));
    read.map(|_| text).map_err(|error| format!("cannot read {}: {error}", file.display()))
}
