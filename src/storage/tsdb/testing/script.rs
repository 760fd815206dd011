//! A short fixed life, again and again: the first time its first call to the disk fails, then its second, and
//! so on to the last (as SQLite tests itself).

use std::path::Path;

use super::life::{FOLDER, Life, read_all};
use crate::storage::disk::{Disk, Fault};

/// Lets the `call`th call of the script go wrong; returns whether there was one.
fn check(fault: Fault, call: u64, seed: u64) -> bool {
    let mut life = Life::new(seed);
    life.what = format!("{fault:?} at call {call}, seed {seed}");
    let before = life.disk.calls();
    life.disk.fail_call(call, fault);
    life.script();
    let has_happened = life.disk.calls() >= before + call;
    life.disk.mend();
    if fault != Fault::PowerCut {
        life.check("while running");
    }
    life.kill();
    life.power_cut();
    // And it goes on as if nothing had been.
    life.append();
    life.sync();
    life.check("after it");
    life.kill();
    has_happened
}

#[test]
fn nothing_is_lost_whatever_call_fails() {
    for (fault, seed) in [(Fault::PowerCut, 3), (Fault::Eio, 0), (Fault::Enospc, 8)] {
        let calls = (1..2000).find(|call| !check(fault, *call, seed)).unwrap();
        assert!(calls > 30, "only {calls} calls were tried");
    }
}

#[test]
fn a_call_that_fails_at_the_start_loses_nothing() {
    for seed in 1..160 {
        let call = seed % 40 + 1;
        for is_read in [false, true] {
            let mut life = Life::new(seed);
            life.what = format!("start, seed {seed}, call {call}, read: {is_read}");
            life.script();
            life.sync();
            life.end_process();
            if is_read {
                life.disk.fail_read(call);
            } else {
                life.disk.fail_call(call, Fault::Eio);
            }
            // It may be refused; what could not be read may be missing meanwhile.
            drop(life.open_on(&life.disk));
            life.disk.mend();
            life.disk.kill();
            life.open();
            life.check("after a start without failures");
        }
    }
}

#[test]
fn what_nobody_knows_is_left_alone_and_what_is_empty_does_not_stop_the_start() {
    let mut life = Life::new(5);
    life.script();
    let strange =
        ["notes.txt", "wal/readme", "wal/99999999999999999999", "blocks/lost+found", "blocks/x-y", "checkpoint.x"];
    life.end_process();
    for name in strange {
        let file = life.disk.create(&Path::new(FOLDER).join(name)).unwrap();
        file.write_at(0, b"not ours").unwrap();
    }
    life.disk.create_folder(&Path::new(FOLDER).join("wal/00000077")).unwrap();
    life.disk.create_folder(&Path::new(FOLDER).join("blocks/a folder/in it")).unwrap();
    life.open();
    life.check("beside strange files");
    life.script();
    life.kill();
    for name in strange {
        assert!(life.disk.exists(&Path::new(FOLDER).join(name)), "{name}");
    }
    life.end_process();
    for (path, _) in life.disk.files(Path::new(FOLDER)) {
        life.disk.alter(&path, &Vec::clear);
    }
    life.open();
    let found = read_all(&life.db()).unwrap();
    assert!(found.is_empty() && !life.db().stats().damages.is_empty());
    life.model.restart_with(&found);
    life.script();
    life.kill();
}

#[test]
fn bytes_that_cannot_be_read_cost_themselves_and_are_told() {
    for seed in 0..12 {
        let mut life = Life::new(seed);
        life.what = format!("unreadable, seed {seed}");
        life.script();
        life.end_process();
        life.disk.settle();
        let files = life.disk.files(&Path::new(FOLDER).join("blocks"));
        let (path, bytes) = life.random.pick(&files).clone();
        let fork = life.disk.fork();
        fork.remove_folder(path.parent().unwrap()).unwrap();
        let without = read_all(&life.open_on(&fork).unwrap()).unwrap();
        let whole = read_all(&life.open_on(&life.disk.fork()).unwrap()).unwrap();
        let from = life.random.below(bytes);
        life.disk.make_unreadable(&path, from..from + 1);
        life.open();
        let db = life.db();
        for round in 0..2 {
            let found = read_all(&db).unwrap_or_else(|e| panic!("seed {seed}: the rest is not served: {e}"));
            life.model.allow_later_values();
            life.model.check(&found, &without, &whole, &format!("seed {seed}, {}", path.display()));
            let is_told = !db.stats().damages.is_empty();
            assert!(found == whole || is_told, "seed {seed}, round {round}: nobody was told");
        }
        db.maintain();
    }
}

#[test]
fn a_flipped_byte_or_a_small_hole_in_a_checkpoint_costs_nothing() {
    let mut tried = 0;
    for seed in 0..12 {
        let mut life = Life::new(seed);
        life.what = format!("checkpoint, seed {seed}");
        life.script();
        life.end_process();
        life.disk.settle();
        let files = life.disk.files(Path::new(FOLDER));
        let is_of_checkpoint = |path: &Path| path.to_string_lossy().contains("checkpoint.");
        let Some((path, bytes)) = files.into_iter().find(|(path, _)| is_of_checkpoint(path)) else { continue };
        let whole = read_all(&life.open_on(&life.disk.fork()).unwrap()).unwrap();
        for hole in [1, 200] {
            let at = usize::try_from(life.random.below(bytes)).unwrap();
            let fork = life.disk.fork();
            fork.alter(&path, &|b| b[at..].iter_mut().take(hole).for_each(|b| *b ^= 0x55));
            let db = life.open_on(&fork).unwrap();
            assert_eq!(read_all(&db).unwrap(), whole, "seed {seed}: {hole} at {at} of {bytes}");
            tried += 1;
        }
    }
    assert!(tried >= 12, "only {tried} were tried");
}
