//! Writing an archive, and reading it from end to end.

use std::io::{BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use tar::{Archive, Builder, EntryType, Header};

use super::manifest::{self, BYTES_MAX, MEMBERS_MAX, Manifest, Member};
use super::{About, Error, Result};
use crate::storage::disk::{self, Disk, DiskFile, TEMPORARY_SUFFIX, crc32c_append};
use crate::storage::files;

/// Files are read in pieces of this size.
const PIECE_BYTES: usize = 256 << 10;

/// Names that tar's own head can hold.
const NAME_BYTES_MAX: usize = 255;

/// A file that goes into an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name in the archive.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Source {
    /// Returns a file of settings as it goes into an archive: under `settings`, with its full path.
    #[must_use]
    pub fn of_settings(path: &Path) -> Source {
        let parts = path.components().filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        });
        let name = std::iter::once(files::SETTINGS).chain(parts).collect::<Vec<_>>().join("/");
        Source { name, path: path.to_owned() }
    }
}

/// Returns the files of a data folder (or of a snapshot of one) that go into an archive, in a fixed order.
///
/// # Errors
/// When the folder cannot be listed.
pub fn sources(disk: &dyn Disk, folder: &Path) -> Result<Vec<Source>> {
    let mut found = Vec::new();
    for name in files::KEPT {
        let path = folder.join(name);
        if disk.exists(&path) {
            found.push((name.to_owned(), path));
        }
    }
    let mut sources = Vec::new();
    while let Some((name, path)) = found.pop() {
        match disk.list(&path) {
            Ok(entries) => {
                let kept = entries.into_iter().filter(|entry| !entry.name.ends_with(TEMPORARY_SUFFIX));
                found.extend(kept.map(|entry| (format!("{name}/{}", entry.name), path.join(&entry.name))));
            }
            // Not a folder.
            Err(_) => sources.push(Source { name, path }),
        }
    }
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(sources)
}

/// Writes an archive; a file of settings that cannot be read is left out. Returns what is in it. Memory: one
/// piece of a file, and the manifest. A file that grows meanwhile is taken as long as it was.
///
/// # Errors
/// When a file cannot be read, or `out` does not take more.
pub fn write_archive(disk: &dyn Disk, sources: &[Source], about: &About, out: &mut dyn Write) -> Result<Manifest> {
    let mut archive = Builder::new(out);
    let made_s = u64::try_from(about.made_at.as_millis() / 1000).unwrap_or(0);
    let mut members = Vec::with_capacity(sources.len());
    for source in sources {
        let file = match disk.open(&source.path) {
            Ok(file) => file,
            Err(_) if source.name.starts_with(files::SETTINGS) => continue,
            Err(error) => return Err(error.into()),
        };
        let bytes = file.size()?;
        let mut content = Content { file: &*file, at: 0, end: bytes, checksum: 0, failure: None };
        let written = append(&mut archive, &source.name, bytes, made_s, &mut content);
        if let Some(failure) = content.failure {
            return Err(failure.into());
        }
        written.map_err(Error::Write)?;
        members.push(Member { name: source.name.clone(), bytes, crc32c: manifest::hex(content.checksum) });
    }
    let manifest = Manifest::new(about, members);
    let json = manifest.to_json();
    append(&mut archive, manifest::NAME, json.len() as u64, made_s, &mut json.as_slice()).map_err(Error::Write)?;
    archive.into_inner().and_then(|out| out.flush()).map_err(Error::Write)?;
    Ok(manifest)
}

fn append(
    archive: &mut Builder<&mut dyn Write>,
    name: &str,
    bytes: u64,
    made_s: u64,
    content: &mut dyn Read,
) -> std::io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o640);
    header.set_mtime(made_s);
    header.set_size(bytes);
    header.set_cksum();
    archive.append(&header, content)
}

/// The content of a file up to where it ended at first, with its checksum.
struct Content<'a> {
    file: &'a dyn DiskFile,
    at: u64,
    end: u64,
    checksum: u32,
    /// What the disk said, which `io::Error` would lose.
    failure: Option<disk::Error>,
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let Some(buffer) = buffer.get_mut(..length).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        let read = self.file.read_at(self.at, buffer).unwrap_or_else(|error| {
            self.failure = Some(error);
            0
        });
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.checksum = crc32c_append(self.checksum, buffer.get(..read).unwrap_or_default());
        self.at += read as u64;
        Ok(read)
    }
}

/// Reads a whole archive and compares every member with the manifest. Memory: one piece, and the manifest.
///
/// # Errors
/// [`Error::Unfit`] with what is wrong.
pub fn check(disk: &dyn Disk, archive: &Path) -> Result<Manifest> {
    read(disk, archive, &mut |_| Ok(None))
}

/// Where the content of a member goes; nowhere if it is only to be checked.
pub(super) type Target = Option<Arc<dyn DiskFile>>;

/// Reads a whole archive; the content of each member goes to the file that `begin` gives for it, and is synced.
///
/// # Errors
/// [`Error::Unfit`], or what `begin` or the disk says.
pub(super) fn read(disk: &dyn Disk, archive: &Path, begin: &mut dyn FnMut(&str) -> Result<Target>) -> Result<Manifest> {
    let file = disk.open(archive)?;
    let unfit = |reason: String| Error::Unfit { archive: archive.to_owned(), reason };
    let broken = |error: std::io::Error| unfit(format!("it is damaged or no archive of ours ({error})"));
    let content = Content { file: &*file, at: 0, end: file.size()?, checksum: 0, failure: None };
    let mut archive = Archive::new(BufReader::with_capacity(PIECE_BYTES, content));
    let (mut found, mut manifest) = (Vec::new(), None);
    let mut piece = vec![0; PIECE_BYTES];
    // Raw: what we did not write, such as long names of GNU, shows as what it is and is refused.
    for entry in archive.entries().map_err(broken)?.raw(true) {
        let mut entry = entry.map_err(broken)?;
        let name = plain_name(&entry).map_err(unfit)?;
        if manifest.is_some() || found.len() >= MEMBERS_MAX {
            return Err(unfit(format!("{name} stands behind the manifest")));
        }
        if name == manifest::NAME {
            if entry.size() > BYTES_MAX {
                return Err(unfit("its manifest is too long".to_owned()));
            }
            let mut json = Vec::new();
            entry.read_to_end(&mut json).map_err(broken)?;
            manifest = Some(Manifest::from_json(&json).map_err(unfit)?);
            continue;
        }
        let target = begin(&name)?;
        let (mut bytes, mut checksum) = (0_u64, 0);
        loop {
            let length = entry.read(&mut piece).map_err(broken)?;
            let Some(read) = piece.get(..length).filter(|read| !read.is_empty()) else { break };
            checksum = crc32c_append(checksum, read);
            if let Some(target) = &target {
                target.write_at(bytes, read)?;
            }
            bytes += length as u64;
        }
        if let Some(target) = &target {
            target.sync()?;
        }
        found.push(Member { name, bytes, crc32c: manifest::hex(checksum) });
    }
    let manifest = manifest.ok_or_else(|| unfit("it was cut off: the manifest at its end is missing".to_owned()))?;
    if let Some((is, should)) = found.iter().zip(&manifest.members).find(|(is, should)| is != should) {
        return Err(unfit(if is.name == should.name {
            format!("{} is damaged: its checksum is {}, not {}", is.name, is.crc32c, should.crc32c)
        } else {
            format!("it holds {} where {} should be", is.name, should.name)
        }));
    }
    if found.len() != manifest.members.len() {
        return Err(unfit(format!("it holds {} files of {}", found.len(), manifest.members.len())));
    }
    Ok(manifest)
}

/// Returns the name of an entry if it is a plain file that we may unpack.
fn plain_name<R: Read>(entry: &tar::Entry<'_, R>) -> std::result::Result<String, String> {
    let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap_or_default();
    let is_known = name == manifest::NAME
        || files::KEPT
            .iter()
            .chain([&files::SETTINGS])
            .any(|kept| name.strip_prefix(kept).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    let is_plain = name.split('/').all(|part| !matches!(part, "" | "." | "..")) && !name.contains('\0');
    if entry.header().entry_type() == EntryType::Regular
        && is_known
        && is_plain
        && name.len() <= NAME_BYTES_MAX
        && !name.ends_with(TEMPORARY_SUFFIX)
    {
        Ok(name)
    } else {
        Err(format!("{name:?} in it is not a file of a backup"))
    }
}
