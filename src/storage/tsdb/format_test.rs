//! The formats byte for byte: `tests/formats/tsdb_*.hex` must read, and write the same again. What stands in a
//! zstd frame must read and, written again, read the same: the packer may get better.

use std::path::Path;
use std::sync::Arc;

use super::block::{
    Block, BlockMeta, BlockWriter, ChunkPlace, ColumnPlace, Contents, Origin, Page, PagePlace, PageWriter, TimesPlace,
    checked_column,
};
use super::chunk::Window;
use super::column::{Effort, decode_bare_values, decode_times, decode_values, encode_times, encode_values};
use super::postings::Postings;
use super::tombstones::{self, Tombstone};
use crate::model::{Labels, MatchOp, Matcher, TimeRange, Timestamp, stale_nan};
use crate::storage::disk::dump::{bytes, check_same};
use crate::storage::disk::{ByteReader, ByteWriter, Disk, FaultyDisk};

/// 2026-08-21 12:00:00 UTC.
const NOON_MS: i64 = 1_787_313_600_000;

/// Puts pieces behind each other, each with its length before it.
fn framed(pieces: &[Vec<u8>]) -> Vec<u8> {
    let mut out = ByteWriter::default();
    for piece in pieces {
        out.varint(piece.len() as u64);
        out.raw(piece);
    }
    out.into_bytes()
}

fn unframed(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut r = ByteReader::new(bytes);
    let mut pieces = Vec::new();
    while !r.is_empty() {
        let length = r.count(1).unwrap();
        pieces.push(r.raw(length).unwrap().to_vec());
    }
    pieces
}

fn press() -> Labels {
    Labels::from_pairs([("__name__", "up"), ("device", "press-1")])
}

fn belt() -> Labels {
    Labels::from_pairs([("__name__", "up"), ("device", "belt")])
}

#[test]
fn columns_of_integers_of_version_2() {
    let dump = include_str!("../../../tests/formats/tsdb_column_integers_2.hex");
    let regular: Vec<i64> = (0..8).map(|i| NOON_MS + i * 15_000).collect();
    let late: Vec<i64> = (0..8).map(|i| NOON_MS + i * 15_000 + if i == 5 { 40 } else { 0 }).collect();
    let often: Vec<i64> = (0..24).zip([0, 3, 3, 7].repeat(6)).map(|(i, late)| NOON_MS + i * 15_000 + late).collect();
    let columns = [vec![], vec![NOON_MS], regular, late, vec![-5, 1, 2, 900, 901], often];
    let encode = |times: &Vec<i64>| {
        let mut out = ByteWriter::default();
        encode_times(times, Effort::Small, &mut out);
        out.into_bytes()
    };
    check_same(&framed(&columns.iter().map(encode).collect::<Vec<_>>()), dump);
    let read: Vec<Vec<i64>> = unframed(&bytes(dump)).iter().map(|c| decode_times(c).unwrap()).collect();
    assert_eq!(read, columns);
}

#[test]
fn columns_of_values_of_version_2() {
    let dump = include_str!("../../../tests/formats/tsdb_column_values_2.hex");
    let columns = [
        vec![21.5, 21.6, 21.4, 21.5],
        vec![4096.0, 8192.0, 8192.0],
        vec![1.0, stale_nan(), -0.0, f64::INFINITY],
        vec![0.1 + 0.2, 1.0],
        [3.0, 3.0, 3.0, 4.0, 3.0, 5.0, 3.0, 4.0].repeat(5),
    ];
    let encode = |values: &Vec<f64>| {
        let mut out = ByteWriter::default();
        encode_values(values, Effort::Small, &mut out);
        out.into_bytes()
    };
    check_same(&framed(&columns.iter().map(encode).collect::<Vec<_>>()), dump);
    let bits = |v: &[f64]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for (read, written) in unframed(&bytes(dump)).iter().zip(&columns) {
        assert_eq!(bits(&decode_values(read).unwrap()), bits(written));
    }
}

fn meta() -> BlockMeta {
    BlockMeta {
        version: 2,
        number: 42,
        start_ms: NOON_MS,
        end_ms: NOON_MS + 7_200_000,
        min_ms: NOON_MS,
        max_ms: NOON_MS + 7_185_000,
        series: 2,
        samples: 960,
        chunks: 2,
        bytes: 1234,
        level: 1,
        rank: 42,
        merged: vec![],
        checksum: String::new(),
    }
}

#[test]
fn a_meta_of_version_2() {
    let dump = include_str!("../../../tests/formats/tsdb_block_meta_2.hex");
    check_same(&meta().to_json(), dump);
    assert_eq!(BlockMeta { checksum: String::new(), ..BlockMeta::from_json(&bytes(dump)).unwrap() }, meta());
}

fn chunk(times_at: u64, values_at: u64) -> ChunkPlace {
    let column = ColumnPlace { offset: times_at, length: 11 };
    let times = TimesPlace { column, min: 5, max: 9, count: 4 };
    ChunkPlace { times, values: ColumnPlace { offset: values_at, length: 7 } }
}

#[test]
fn a_page_of_an_index_of_version_2() {
    let dump = include_str!("../../../tests/formats/tsdb_block_index_page_2.hex");
    let mut writer = PageWriter::default();
    writer.add(&belt(), &[chunk(8, 23), chunk(34, 49)]);
    writer.add(&press(), &[chunk(8, 23)]);
    let mut written = Vec::new();
    let place = writer.finish(8, &mut written).unwrap();
    check_same(&written, dump);
    let page = Page::parse(&bytes(dump)[..place.length as usize]).unwrap();
    let chunks = page.chunks().unwrap();
    let (mut text, of) = (String::new(), |series| chunks.of(series).collect::<Vec<_>>());
    assert_eq!((page.series_count(), page.labels(0, &mut text), page.labels(1, &mut text)), (2, belt(), press()));
    assert_eq!((of(0), of(1)), (vec![chunk(8, 23), chunk(34, 49)], vec![chunk(8, 23)]));
    assert_eq!(page.names().collect::<Vec<_>>(), ["__name__", "device"]);
    assert_eq!(page.values("device").collect::<Vec<_>>(), ["belt", "press-1"]);
    assert_eq!((page.equal("device", "belt"), page.equal("__name__", "up")), (vec![0], vec![0, 1]));
    let expected = PagePlace {
        offset: 8,
        length: place.length,
        series: 2,
        min: 5,
        max: 9,
        first_name: "up".into(),
        last_name: "up".into(),
    };
    assert_eq!(place, expected);
}

#[test]
fn contents_of_an_index_of_version_2() {
    let dump = include_str!("../../../tests/formats/tsdb_block_index_2.hex");
    let page = |offset, length, min, max, first_name: &str, last_name: &str| PagePlace {
        offset,
        length,
        series: 1024,
        min,
        max,
        first_name: first_name.into(),
        last_name: last_name.into(),
    };
    let pages = vec![page(8, 300, NOON_MS, NOON_MS + 9, "a", "c"), page(312, 200, NOON_MS - 5, NOON_MS + 5, "c", "up")];
    let contents = Contents { meta: "{}".to_owned(), pages, copies: vec![(8, 1000), (500, 1100)] };
    check_same(&contents.encode(), dump);
    let disk = FaultyDisk::new(1);
    let file = disk.shared().create(Path::new("/index")).unwrap();
    file.write_at(0, &[b"ANDONIX2".to_vec(), vec![0; 508], bytes(dump)].concat()).unwrap();
    let read = Contents::read(&*file).unwrap();
    assert_eq!(read, contents);
    assert_eq!((read.copy_of(500), read.copy_of(9)), (Some(1100), None));
}

#[test]
fn a_file_of_chunks_of_version_3() {
    let dump = include_str!("../../../tests/formats/tsdb_block_writer_3.hex");
    let (disk, folder) = (FaultyDisk::new(1), Path::new("/blocks"));
    let shared = disk.shared();
    let mut writer = BlockWriter::begin(shared.clone(), folder, 1, Effort::Small).unwrap();
    let window = |v| Window { times: vec![NOON_MS, NOON_MS + 15_000], values: vec![v, v] };
    writer.add(&belt(), &window(1.0)).unwrap();
    writer.add(&press(), &window(0.5)).unwrap();
    let at = Timestamp::from_millis;
    let range = TimeRange::new(at(NOON_MS), at(NOON_MS + 7_200_000));
    let origin = Origin { number: 1, window: range, level: 1, rank: 1, merged: vec![] };
    let (_, folder) = writer.finish(origin).unwrap().unwrap();
    let file = disk.open(&folder.join("chunks")).unwrap();
    let columns = bytes(dump);
    check_same(&file.read_exact_at(0, columns.len()).unwrap(), dump);
    file.write_at(0, &columns).unwrap();
    let block = Block::open(&shared, &folder).unwrap();
    assert_eq!(block.contents().unwrap(), &Contents::read(&*file).unwrap());
    let page = block.read_page(0).unwrap().unwrap();
    let place = page.chunks().unwrap().of(1).next().unwrap();
    assert_eq!(block.read_times(place.times).unwrap(), [NOON_MS, NOON_MS + 15_000]);
    let bytes = block.read_chunks(place.values.offset, place.values.length as usize + 4).unwrap();
    let mut values = Vec::new();
    decode_bare_values(checked_column(&bytes).unwrap(), 2, &mut values).unwrap();
    assert_eq!(values, [0.5, 0.5]);
    assert!(block.take_findings().is_empty());
}

#[test]
fn tombstones_of_version_1() {
    let dump = include_str!("../../../tests/formats/tsdb_tombstones_1.hex");
    let matcher = |name: &str, op, value: &str| Matcher::new(name, op, value).unwrap();
    let of_up = [matcher("__name__", MatchOp::Equal, "up"), matcher("device", MatchOp::NotRegex, "a.*")];
    let of_lines = [matcher("line", MatchOp::NotEqual, ""), matcher("line", MatchOp::Regex, "1|2")];
    let tombstones = [
        Tombstone { before: 300, min: -1, max: NOON_MS, matchers: of_up.to_vec() },
        Tombstone { before: 7, min: i64::MIN, max: i64::MAX, matchers: of_lines.to_vec() },
    ];
    let encoded = tombstones::encode(&tombstones.map(Arc::new));
    check_same(&encoded, dump);
    let decoded = tombstones::decode(&encoded).unwrap();
    assert_eq!(tombstones::encode(&decoded), encoded);
    assert_eq!((decoded[1].min, decoded[0].matchers.len()), (i64::MIN, 2));
    for length in 0..encoded.len() {
        assert!(tombstones::decode(&encoded[..length]).is_err(), "{length}");
    }
}
