//! Damage to files at rest: the store starts, serves the rest, says so, and takes more.

use std::path::{Path, PathBuf};

use super::life::{FOLDER, Life, read_all};
use super::model::count;
use crate::storage::disk::Disk;
use crate::storage::tsdb::{Db, files};

/// Nobody can tell when it ends behind a whole record.
const MISSING_END: &str = "an end that is missing";

impl Life {
    /// Ends the process well, damages one file and starts again.
    pub(super) fn damage(&mut self) {
        self.disk.mend();
        if !self.has_power() {
            return self.power_cut();
        }
        self.end_process();
        self.disk.settle();
        let files = self.disk.files(Path::new(FOLDER));
        let Some((path, bytes)) = (!files.is_empty()).then(|| self.random.pick(&files).clone()) else {
            return self.open();
        };
        let without = self.without(&unit_of(&path));
        // Before the first sync it is written nowhere which files the log has.
        let of_log = path.parent().filter(|folder| folder.ends_with("wal"));
        let is_unnoted =
            of_log.and_then(Path::parent).is_some_and(|store| !self.disk.exists(&store.join(files::NEWEST)));
        let before = self.model.acknowledged.clone();
        let kind = self.hurt(&path, bytes);
        self.tell(|| format!("{kind} in {}", path.display()));
        self.open();
        let db = self.db();
        let place = self.place(&format!("{kind} in {}", path.display()));
        let found = read_all(&db).unwrap_or_else(|e| panic!("{place}: {e}"));
        self.model.allow_later_values();
        self.model.check(&found, &without, &before, &place);
        let lost = count(&before).saturating_sub(count(&found));
        let stats = db.stats();
        let is_told = !stats.damages.is_empty() || told_bytes(&db) > 0;
        let is_due = before.values().flat_map(|s| s.keys()).all(|t| *t >= self.model.kept_from);
        // That the last file of a log was there, or went on behind a record, is written nowhere.
        let is_newest = path.parent().is_some_and(|folder| {
            let of_log = files.iter().filter(|(file, _)| file.parent() == Some(folder));
            folder.ends_with("wal") && of_log.map(|(file, _)| file).max() == Some(&path)
        });
        let is_last_gone = is_newest && (!self.disk.exists(&path) || kind == MISSING_END);
        assert!(
            lost == 0 || is_told || !is_due || is_last_gone || is_unnoted,
            "{place}: {lost} samples are lost and nobody was told"
        );
        drop(db);
        self.model.restart_with(&found);
        // What was found is put aside and not met again.
        self.check("after damage");
    }

    /// Returns what would be left without the damaged file (or its block): the least that is to be served.
    fn without(&self, unit: &Path) -> super::model::Points {
        let fork = self.disk.fork();
        if fork.remove_file(unit).is_err() {
            fork.remove_folder(unit).unwrap();
        }
        let db = self.open_on(&fork).unwrap_or_else(|e| panic!("{}: {e}", self.place("without a file")));
        read_all(&db).unwrap_or_else(|e| panic!("{}: {e}", self.place("without a file")))
    }

    fn hurt(&mut self, path: &Path, bytes: u64) -> &'static str {
        let at = usize::try_from(self.random.below(bytes)).unwrap();
        let noise = self.random.below(u64::MAX);
        match self.random.below(9) {
            0..3 => {
                self.disk.flip(path, at, 1 << (noise % 8));
                "a flipped bit"
            }
            3 => {
                self.disk.alter(path, &|b| b[at..].iter_mut().take(512).for_each(|b| *b = 0));
                "512 zeros"
            }
            4 => {
                self.disk.alter(path, &|b| {
                    let mut r = super::Random(noise);
                    let span = at / 4096 * 4096;
                    b[span..].iter_mut().take(4096).for_each(|b| *b = u8::try_from(r.below(256)).unwrap());
                });
                "4 KiB of noise"
            }
            5 => {
                self.disk.alter(path, &|b| b.truncate(at));
                MISSING_END
            }
            6 => {
                self.disk.alter(path, &Vec::clear);
                "no content"
            }
            7 => {
                self.disk.alter(path, &|b| b.extend_from_slice(&noise.to_le_bytes().repeat(30)));
                "noise behind the end"
            }
            _ => {
                self.disk.remove_file(path).unwrap();
                self.disk.settle();
                "a missing file"
            }
        }
    }
}

/// Returns what the metrics say of torn ends.
fn told_bytes(db: &Db) -> u64 {
    db.0.instruments.wal_truncated.get()
}

/// Returns what may be lost with a file: a block's folder, or just the file.
fn unit_of(path: &Path) -> PathBuf {
    let is_block = path.parent().and_then(Path::parent).is_some_and(|p| p.ends_with("blocks"));
    if is_block { path.parent().unwrap().to_owned() } else { path.to_owned() }
}
