//! The formats, byte for byte: `tests/formats/disk_*.hex` must read, and write the same again.

use std::path::Path;

use super::dump::{bytes, check_same};
use super::{Disk, FaultyDisk, Segments, SegmentsOptions, record};

#[test]
fn a_record_of_version_1() {
    let dump = include_str!("../../../tests/formats/disk_record_1.hex");
    let mut written = Vec::new();
    record::encode(&mut written, 7, 2, b"hello");
    check_same(&written, dump);
    let bytes = bytes(dump);
    let (read, length) = record::decode(&bytes, 3).unwrap();
    assert_eq!((read.segment, read.sequence, read.kind, read.payload, length), (3, 7, 2, &b"hello"[..], bytes.len()));
}

#[test]
fn a_segment_of_version_2() {
    let dump = include_str!("../../../tests/formats/disk_segments_2.hex");
    let folder = Path::new("/wal");
    let options = SegmentsOptions { segment_bytes_max: 1000, is_synced: true, has_parity: false };
    let disk = FaultyDisk::new(1);
    let (log, _) = Segments::open(disk.shared(), folder, options, &mut |_| Ok(())).unwrap();
    log.append(1, b"one").unwrap();
    log.append(2, b"").unwrap();
    let file = disk.open(&folder.join("00000001")).unwrap();
    let size = usize::try_from(file.size().unwrap()).unwrap();
    check_same(&file.read_exact_at(0, size).unwrap(), dump);

    let disk = FaultyDisk::new(1);
    disk.create_folder(folder).unwrap();
    disk.create(&folder.join("00000001")).unwrap().write_at(0, &bytes(dump)).unwrap();
    let mut read = Vec::new();
    let (_, found) = Segments::open(disk.shared(), folder, options, &mut |r| {
        read.push((r.segment, r.sequence, r.kind, r.payload.to_vec()));
        Ok(())
    })
    .unwrap();
    assert_eq!(read, [(1, 1, 1, b"one".to_vec()), (1, 2, 2, vec![])]);
    assert_eq!((found.truncated_bytes, found.damages), (0, vec![]));
}

#[test]
fn parity_of_version_2() {
    let dump = include_str!("../../../tests/formats/disk_parity_2.hex");
    let folder = Path::new("/wal");
    let options = SegmentsOptions { segment_bytes_max: 1000, is_synced: true, has_parity: true };
    let disk = FaultyDisk::new(1);
    let (log, _) = Segments::open(disk.shared(), folder, options, &mut |_| Ok(())).unwrap();
    log.append(1, b"one").unwrap();
    let _ = log.rotate();
    let file = disk.open(&folder.join("00000001")).unwrap();
    let size = usize::try_from(file.size().unwrap()).unwrap();
    check_same(&file.read_exact_at(0, size).unwrap(), dump);

    let mut damaged = bytes(dump);
    damaged[46] ^= 1;
    file.write_at(0, &damaged).unwrap();
    let mut read = Vec::new();
    let (_, found) = Segments::open(disk.shared(), folder, options, &mut |r| {
        read.push(r.payload.to_vec());
        Ok(())
    })
    .unwrap();
    assert_eq!((read, found.mended), (vec![b"one".to_vec()], 1));
}
