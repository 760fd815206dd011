//! What goes wrong in a life: failing calls, ended processes, power cuts, full disks.

use std::path::Path;

use super::life::{FOLDER, Life, read_all};
use super::model::Points;
use super::senders::Sent;
use crate::storage::disk::{Disk, Fault};
use crate::storage::tsdb::WalSync;

impl Life {
    pub(super) fn fail(&mut self, fault: Fault) {
        let call = 1 + self.random.below(40);
        self.tell(|| format!("{fault:?} at call {call} from now"));
        self.disk.fail_call(call, fault);
    }

    pub(super) fn has_power(&self) -> bool {
        self.disk.list(Path::new("/")).is_ok()
    }

    /// Ends the process and starts the next. A disk without power is switched on again too.
    pub(super) fn kill(&mut self) {
        self.tell(|| "kill".to_owned());
        self.disk.mend();
        if !self.has_power() {
            return self.power_cut();
        }
        self.end_process();
        self.open();
        self.check("after kill -9");
    }

    pub(super) fn end_process(&mut self) {
        self.disk.kill();
        self.held = None;
        self.db = None;
        if self.failed_syncs() > self.settled_syncs {
            self.model.doubt();
        }
    }

    pub(super) fn failed_syncs(&self) -> usize {
        self.disk.failed_syncs(&Path::new(FOLDER).join("wal"))
    }

    pub(super) fn power_cut(&mut self) {
        self.tell(|| "power cut".to_owned());
        self.disk.crash();
        self.held = None;
        self.db = None;
        self.settled_syncs = self.failed_syncs();
        self.open();
        let found = read_all(&self.db()).unwrap();
        let lasting = if self.config.wal_sync == WalSync::Never { Points::new() } else { self.model.lasting.clone() };
        self.model.check(&found, &lasting, &self.model.acknowledged, &self.place("after a power cut"));
        self.model.restart_with(&found);
    }

    /// Little space for some steps, then enough again.
    pub(super) fn fill_disk(&mut self) {
        let used = (1 << 40) - self.disk.space(Path::new("/")).map_or(0, |s| s.free_bytes);
        let left = self.random.below(20_000);
        self.tell(|| format!("the disk has {left} bytes left"));
        self.disk.set_capacity(Some(used + left));
        for _ in 0..self.random.below(12) {
            match self.random.below(8) {
                0 => self.sync(),
                1 => self.maintain(false),
                2 => self.query(),
                3 if self.random.is_one_in(3) => self.kill(),
                _ => self.append(),
            }
        }
        self.disk.set_capacity(None);
        self.disk.mend();
        if !self.has_power() {
            return self.power_cut();
        }
        self.sync();
        // As the store's thread does every second.
        assert!(self.db().0.measure_space(), "{}: there is space again", self.place("disk"));
        let sent = vec![Sent { series: 0, time: self.now(), value: 1.0, by_reference: false }];
        let taken = self.db().append(&self.batch(&sent));
        assert!(taken.is_ok(), "{}: refused though there is space again: {taken:?}", self.place("disk"));
        self.account(&sent, taken, &self.oldest_and_newest());
        self.check("after a full disk");
    }
}
