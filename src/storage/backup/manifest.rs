//! # Format
//!
//! A backup is one file: a POSIX tar (ustar) archive of plain files, so that any `tar` can look into it.
//! Version 1. The members are the files of a data folder under their own names (`tsdb/..`, `logs/..`,
//! `alarms/..`, `notify/..`, `bus/..`, `state.db`, of a stopped box also `state.db-wal`) and `settings/..` with the full
//! paths of the files of settings and rules. The last member is `manifest.json`, a JSON object:
//!
//! | field      | meaning                                                                             |
//! |------------|-------------------------------------------------------------------------------------|
//! | `format`   | 1                                                                                   |
//! | `program`  | version of the program that wrote it                                                |
//! | `box`      | the box's name                                                                      |
//! | `made`     | when, RFC 3339                                                                      |
//! | `members`  | all others in their order: `name`, `bytes`, `crc32c` (8 hexadecimal digits) of each |
//! | `checksum` | CRC-32C of the same object with `checksum` empty, without spaces, 8 hexadecimal digits |
//!
//! What the formats inside are, the files inside say. Damage: an archive without a manifest was cut off; one
//! member that differs from the manifest makes it unfit, whole. Caps: 1 000 000 members, names of 255 bytes,
//! no links, no folders, no `..`. Growth: another `format` is refused; unknown fields are passed over.

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;
use crate::storage::disk::crc32c;

/// The version that is written and read.
const FORMAT: u32 = 1;

/// Name of the manifest in an archive.
pub(super) const NAME: &str = "manifest.json";

/// Longer manifests were not written by us.
pub(super) const BYTES_MAX: u64 = 256 << 20;

/// More members were not written by us.
pub(super) const MEMBERS_MAX: usize = 1_000_000;

/// Whose data an archive holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The box's name.
    pub box_name: String,
    /// When it was made.
    pub made_at: Timestamp,
}

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// The box's name.
    #[serde(rename = "box")]
    pub box_name: String,
    /// When it was made, RFC 3339.
    pub made: String,
    /// All files in it.
    pub members: Vec<Member>,
    checksum: String,
}

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its path in the data folder, with `/`.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// CRC-32C of its content, eight hexadecimal digits.
    pub crc32c: String,
}

impl Manifest {
    pub(super) fn new(about: &About, members: Vec<Member>) -> Self {
        let mut manifest = Manifest {
            format: FORMAT,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            box_name: about.box_name.clone(),
            made: about.made_at.to_rfc3339(),
            members,
            checksum: String::new(),
        };
        manifest.checksum = manifest.seal();
        manifest
    }

    /// Returns the bytes of all files in it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.members.iter().map(|member| member.bytes).sum()
    }

    /// Returns the member's content.
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the member's content.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn from_json(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
            program: String,
        }
        let bad = |_| "its manifest does not read".to_owned();
        let version: Version = serde_json::from_slice(json).map_err(bad)?;
        if version.format != FORMAT {
            let Version { format, program } = version;
            return Err(format!("it has format {format}, written by Andon {program}; this version reads {FORMAT}"));
        }
        let manifest: Manifest = serde_json::from_slice(json).map_err(bad)?;
        if manifest.checksum == manifest.seal() {
            Ok(manifest)
        } else {
            Err("its manifest does not check out".to_owned())
        }
    }

    fn seal(&self) -> String {
        let bare = Manifest { checksum: String::new(), ..self.clone() };
        hex(crc32c(&serde_json::to_vec(&bare).unwrap_or_default()))
    }
}

/// Writes a checksum as the manifest does.
pub(super) fn hex(checksum: u32) -> String {
    format!("{checksum:08x}")
}
