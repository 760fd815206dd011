//! Time that passes, and upkeep, alone and beside appends and queries.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::life::{HOUR_MS, Life, MINUTE_MS, read_all};
use super::senders::written;
use crate::storage::tsdb::Db;

/// A store that is asked to stop a call for so long is held up by its own lock: the call goes on then.
const MEANWHILE: Duration = Duration::from_millis(10);

impl Life {
    pub(super) fn advance(&mut self) {
        let by = match self.random.below(10) {
            0 => self.random.below(48 * 60),
            1..4 => self.random.below(240),
            _ => self.random.below(20),
        };
        self.tell(|| format!("{by} minutes pass"));
        self.clock.advance(Duration::from_millis(by * MINUTE_MS.unsigned_abs() + self.random.below(3)));
    }

    /// Runs maintenance, perhaps with an append and a query in its midst.
    pub(super) fn maintain(&mut self, with_company: bool) {
        self.tell(|| format!("maintain, company: {with_company}"));
        self.model.kept_from = self.model.kept_from.max(self.oldest());
        let db = self.db();
        if with_company {
            self.beside(|db| db.maintain())
        } else {
            db.maintain()
        }
        if self.random.is_one_in(3) {
            self.check("after maintenance");
        }
    }

    pub(super) fn flush(&mut self) {
        self.tell(|| "flush".to_owned());
        let company = self.random.is_one_in(2);
        if company {
            self.beside(|db| drop(db.flush()))
        } else {
            drop(self.db().flush())
        }
        self.check("after a flush");
    }

    /// Does `work`, and an append and a query right before one of its calls to the disk.
    fn beside(&mut self, work: impl FnOnce(&Db)) {
        let sent = self.compose();
        let (batch, db) = (self.batch(&sent), self.db());
        let result = Arc::new(Mutex::new(None));
        let thread = Arc::new(Mutex::new(None));
        let (slot, handle) = (result.clone(), thread.clone());
        let call = 1 + self.random.below(30);
        let beside = db.clone();
        self.disk.at_call(call, move || {
            let (done, is_done) = sync_channel(1);
            let work = move || {
                let taken = beside.append(&batch);
                let found = read_all(&beside);
                *slot.lock().unwrap() = Some((taken, found));
                let _ = done.send(());
            };
            *handle.lock().unwrap() = Some(std::thread::Builder::new().spawn(work).unwrap());
            let _ = is_done.recv_timeout(MEANWHILE);
        });
        let bounds = self.oldest_and_newest();
        work(&db);
        self.disk.forget_hook();
        if let Some(thread) = thread.lock().unwrap().take() {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        let taken = result.lock().unwrap().take();
        if let Some((taken, found)) = taken {
            self.tell(|| format!("in its midst append {} samples: {}", sent.len(), written(&sent)));
            self.account(&sent, taken, &bounds);
            if self.has_power()
                && let Ok(found) = found
            {
                self.compare(&found, "in the midst of maintenance");
            }
        }
    }

    pub(super) fn limit_bytes(&mut self) {
        self.tell(|| "a tight size limit".to_owned());
        let newest = self.model.acknowledged.values().filter_map(|s| s.keys().next_back()).max().copied();
        if let Some(newest) = newest {
            self.model.kept_from = self.model.kept_from.max(newest - 24 * HOUR_MS);
        }
        self.db().set_bytes_max(Some(1), Duration::from_secs(24 * 3600));
        self.maintain(false);
        self.db().set_bytes_max(None, Duration::ZERO);
        self.check("after a tight size limit");
    }
}
