//! Blocks come back as they were written, in bounded pieces, and what is damaged costs itself.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Block, BlockWriter, Contents, Origin, Page};
use crate::model::{Labels, Matcher, TimeRange, Timestamp};
use crate::storage::disk::{Disk, FaultyDisk};
use crate::storage::tsdb::cache::PageCache;
use crate::storage::tsdb::chunk::Window;
use crate::storage::tsdb::column::Effort;
use crate::storage::tsdb::merge::{BlockSource, Merged, Source};
use crate::storage::tsdb::select::Selection;

type Series = Vec<(Labels, Window)>;

fn write(disk: &FaultyDisk, number: u64, series: &Series) -> Arc<Block> {
    let shared = disk.shared();
    let mut writer = BlockWriter::begin(shared.clone(), Path::new("/blocks"), number, Effort::Small).unwrap();
    for (labels, window) in series {
        writer.add(labels, window).unwrap();
    }
    let window = TimeRange::new(Timestamp::from_millis(0), Timestamp::from_millis(86_400_000));
    let origin = Origin { number, window, level: 1, rank: number, merged: vec![] };
    let (meta, folder) = writer.finish(origin).unwrap().unwrap();
    let block = Block::open(&shared, &folder).unwrap();
    assert_eq!(block.meta, super::BlockMeta { checksum: block.meta.checksum.clone(), ..meta });
    Arc::new(block)
}

fn read(block: &Arc<Block>, matchers: &[Matcher], min: i64, max: i64) -> Series {
    let selection = Selection::new(matchers);
    let pages = 0..block.contents().unwrap().pages.len();
    let ids = |page: usize| block.read_page(page).unwrap().map(|p| selection.select(&p)).unwrap_or_default();
    let pages = pages.map(|page| (page, ids(page))).collect();
    let source = BlockSource::new(block.clone(), Arc::new(PageCache::default()), pages, min, max);
    Merged::new(vec![Source::Block(Box::new(source))], min, max).filter(|(_, w)| !w.is_empty()).collect()
}

/// So many series of one metric and scrape, and one of another metric.
fn scraped(count: usize, samples: i64) -> Series {
    let times: Vec<i64> = (0..samples).map(|i| i * 15_000).collect();
    let mut series: Series = (0..count)
        .map(|i| {
            let labels = Labels::from_pairs([("__name__", "temperature"), ("device", &format!("press-{i:05}"))]);
            let value = |t: &i64| ((t / 15_000 * 7 + i as i64) % 23) as f64 / 10.0;
            (labels, Window { times: times.clone(), values: times.iter().map(value).collect() })
        })
        .collect();
    let up = Labels::from_pairs([("__name__", "up")]);
    series.push((up, Window { times: vec![5], values: vec![1.0] }));
    series
}

fn same(a: &Series, b: &Series) -> bool {
    let bits = |w: &Window| w.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && a.1.times == b.1.times && bits(&a.1) == bits(&b.1))
}

#[test]
fn a_block_of_several_pages_comes_back() {
    let disk = FaultyDisk::new(1);
    let series = scraped(2500, 100);
    let block = write(&disk, 1, &series);
    assert_eq!(block.contents().unwrap().pages.len(), 3);
    assert!(same(&read(&block, &[], i64::MIN, i64::MAX), &series));
    let one = read(&block, &[Matcher::equal("device", "press-01500")], 30_000, 44_999);
    assert_eq!(one.len(), 1);
    assert_eq!(one[0].1.times, [30_000]);
    let samples: u64 = (0..3).map(|page| block.verify_page(page).unwrap().samples).sum();
    assert_eq!(samples, 250_001);
    assert!(block.take_findings().is_empty());
}

#[test]
fn a_long_series_is_cut_into_chunks_that_are_read_one_by_one() {
    let disk = FaultyDisk::new(1);
    let series = scraped(1, 5000);
    let block = write(&disk, 1, &series);
    assert_eq!(block.meta.chunks, 7);
    assert!(same(&read(&block, &[], i64::MIN, i64::MAX), &series));
    let window = &read(&block, &[], 15_000 * 800, 15_000 * 1700)[0].1;
    assert_eq!((window.len(), window.range()), (901, Some((15_000 * 800, 15_000 * 1700))));
}

#[test]
fn equal_columns_are_written_once() {
    let disk = FaultyDisk::new(1);
    let mut series = scraped(40, 480);
    let once = write(&disk, 1, &series).meta.bytes;
    for i in 0..40 {
        let labels = Labels::from_pairs([("__name__", "unit"), ("device", &format!("press-{i:05}"))]);
        series.insert(40 + i, (labels, series[i].1.clone()));
    }
    let block = write(&disk, 2, &series);
    assert!(block.meta.bytes < once + 40 * 16, "{} instead of {once}", block.meta.bytes);
    assert!(same(&read(&block, &[], i64::MIN, i64::MAX), &series));
}

#[test]
fn any_flipped_bit_costs_a_page_or_a_chunk_and_is_noticed() {
    let clean = FaultyDisk::new(1);
    let series = scraped(30, 60);
    let folder = write(&clean, 1, &series).folder.clone();
    for (file, steps) in [("index", 7), ("chunks", 29)] {
        let path = folder.join(file);
        let size = usize::try_from(clean.open(&path).unwrap().size().unwrap()).unwrap();
        for at in (0..size).step_by(steps) {
            clean.flip(&path, at, 0x10);
            let block = Arc::new(Block::open(&clean.shared(), &folder).unwrap());
            let found = read(&block, &[], i64::MIN, i64::MAX);
            let lost = series.iter().filter(|s| !found.iter().any(|f| same(&vec![(*s).clone()], &vec![f.clone()])));
            // Equal columns are there once: series 0 and 23 have the same.
            let lost_max = if file == "index" { series.len() } else { 2 };
            assert!(lost.count() <= lost_max && found.iter().all(|f| series.iter().any(|s| s.0 == f.0)), "{file} {at}");
            // In the contents of `chunks` nobody looks as long as those of `index` check out.
            let pages = block.contents().unwrap().pages.len();
            (0..pages).for_each(|page| assert!(block.verify_page(page).unwrap().bytes > 0));
            let is_copy = file == "chunks" && Contents::read(&*clean.open(&path).unwrap()).is_err();
            let is_spare = file == "chunks" && found.len() == series.len();
            assert!(block.is_damaged() || is_copy || is_spare, "{file} {at}");
            clean.flip(&path, at, 0x10);
        }
    }
}

fn labels() -> impl Strategy<Value = Labels> {
    prop::collection::vec(("[A-Za-c_]{1,3}", "[a-cé]{1,3}"), 1..5).prop_map(Labels::from_pairs)
}

proptest! {
    #[test]
    fn any_series_come_back(
        all in prop::collection::btree_map(labels(), prop::collection::btree_map(-50..50_i64, any::<f64>(), 1..20), 1..40),
    ) {
        let window = |samples: std::collections::BTreeMap<i64, f64>| Window {
            times: samples.keys().copied().collect(),
            values: samples.values().copied().collect(),
        };
        let series: Series = all.into_iter().map(|(labels, samples)| (labels, window(samples))).collect();
        let block = write(&FaultyDisk::new(1), 1, &series);
        prop_assert!(same(&read(&block, &[], i64::MIN, i64::MAX), &series));
        for name in ["a", "_", "C"] {
            let matchers = [Matcher::equal(name, "b")];
            let expected: Series = series.iter().filter(|(l, _)| l.get(name) == Some("b")).cloned().collect();
            prop_assert!(same(&read(&block, &matchers, i64::MIN, i64::MAX), &expected));
        }
    }

    #[test]
    fn any_bytes_are_a_page_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Contents::parse(&bytes);
        if let Ok(page) = Page::parse(&bytes) {
            let _ = page.chunks();
        }
    }

    #[test]
    fn a_damaged_page_is_read_or_refused(at in any::<prop::sample::Index>(), mask in 1..=255_u8) {
        let disk = FaultyDisk::new(1);
        let block = write(&disk, 1, &scraped(20, 30));
        let place = block.contents().unwrap().pages[0].clone();
        let file = disk.open(&block.folder.join("index")).unwrap();
        let mut bytes = file.read_exact_at(place.offset, place.length as usize).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        if let Ok(page) = Page::parse(&bytes) {
            let mut text = String::new();
            (0..page.series_count()).for_each(|id| drop(page.labels(id, &mut text)));
            let chunks = page.chunks();
            chunks.iter().for_each(|c| assert!((0..page.series_count()).all(|id| c.of(id).count() < 100)));
            Selection::new(&[Matcher::equal("device", "press-00003")]).select(&page);
        }
    }
}
