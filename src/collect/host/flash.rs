//! How worn the flash is, where the kernel shows it.
//!
//! eMMC says in `life_time` how much of its life is used, in steps of a tenth, for two kinds of its cells, and in
//! `pre_eol_info` whether its spare blocks run out. SD cards do not say; NVMe and SATA disks only to programs that
//! speak their protocols (`smartctl`, `nvme`).
//! Source: JEDEC JESD84-B51, registers `DEVICE_LIFE_TIME_EST_TYP_A` and `_B`, `PRE_EOL_INFO`; Linux 4.11,
//! `mmc_host/*/*/life_time`.

use std::os::linux::fs::MetadataExt;
use std::path::Path;

use super::{Part, Roots, names_in, read_file};
use crate::collect::families::Families;

/// The step that stands for a life beyond what was promised.
const STEP_BEYOND: u8 = 11;

/// What a flash device says of its wear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlashLife {
    /// The block device, for example `mmcblk0`.
    pub device: String,
    /// What tells this device from another in its place: its CID, or its name.
    pub id: String,
    /// Tenths of its life that are used or begun, 1 to 11 (more than promised), of the cells that are worn most.
    pub step: u8,
}

/// Returns what eMMC devices say of their wear; none where there is none.
#[must_use]
pub fn flash_lives(sys_root: &Path) -> Vec<FlashLife> {
    let mut lives = Vec::new();
    cards(sys_root, |folder, device| {
        if let Some(step) = steps(folder).into_iter().map(|(_, step)| step).max() {
            let id = read_file(&folder.join("cid")).map_or_else(|_| device.to_owned(), |cid| cid.trim().to_owned());
            lives.push(FlashLife { device: device.to_owned(), id, step });
        }
    });
    lives
}

/// Returns the name of the disk that holds a file or folder, for example `mmcblk0` or `sda`; `None` where it is no
/// plain disk (a file system in memory, across disks, or over another).
#[must_use]
pub fn disk_of(sys_root: &Path, path: &Path) -> Option<String> {
    let device = std::fs::metadata(path).ok()?.st_dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let folder = std::fs::canonicalize(sys_root.join(format!("dev/block/{major}:{minor}"))).ok()?;
    // A partition's folder stands in its disk's.
    let disk = if folder.join("partition").exists() { folder.parent()? } else { &folder };
    disk.file_name()?.to_str().map(str::to_owned)
}

pub(super) fn read(roots: &Roots, out: &mut Families) -> Part {
    cards(&roots.sys, |folder, device| {
        for (part, step) in steps(folder) {
            let help = "Share of the flash's life that is used, in steps of a tenth, upper end; above 1: more than \
                        promised.";
            let labels = [("device", device), ("part", part)];
            out.gauge("andon_flash_life_used_ratio", help, &labels, f64::from(step) / 10.0);
        }
        if let Some(state) = read_file(&folder.join("pre_eol_info")).ok().and_then(|text| hexadecimal(text.trim()))
            && state > 0
        {
            let help = "Spare blocks of the flash: 1 enough, 2 four fifths used, 3 nearly gone.";
            out.gauge("andon_flash_pre_eol", help, &[("device", device)], f64::from(state));
        }
    });
    Ok(())
}

/// Visits the folder and block device of each card.
fn cards(sys_root: &Path, mut visit: impl FnMut(&Path, &str)) {
    let hosts = sys_root.join("class/mmc_host");
    for host in names_in(&hosts) {
        let host = hosts.join(host);
        for card in names_in(&host) {
            let folder = host.join(card);
            for device in names_in(&folder.join("block")) {
                visit(&folder, &device);
            }
        }
    }
}

/// Returns the steps of the two kinds of cells; those that the device does not tell are left out.
fn steps(folder: &Path) -> Vec<(&'static str, u8)> {
    let text = read_file(&folder.join("life_time")).unwrap_or_default();
    let told = ["a", "b"].into_iter().zip(text.split_whitespace());
    told.filter_map(|(part, word)| Some((part, hexadecimal(word)?)))
        .filter(|(_, step)| (1..=STEP_BEYOND).contains(step))
        .collect()
}

fn hexadecimal(word: &str) -> Option<u8> {
    u8::from_str_radix(word.trim_start_matches("0x"), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    #[track_caller]
    fn check(life_time: &str, pre_eol: &str, expected: &[&str]) {
        let card = "class/mmc_host/mmc0/mmc0:0001";
        let sys = tree(&[
            (&format!("{card}/life_time"), life_time),
            (&format!("{card}/pre_eol_info"), pre_eol),
            (&format!("{card}/block/mmcblk0/size"), "1\n"),
            ("class/mmc_host/mmc1/uevent", ""),
        ]);
        let mut out = Families::default();
        let roots = Roots { proc: sys.path().to_owned(), sys: sys.path().to_owned() };
        read(&roots, &mut out).unwrap();
        let text = crate::wire::exposition::render(&out.finish());
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines, expected, "{life_time:?} {pre_eol:?}");
    }

    #[test]
    fn what_the_device_tells_becomes_a_share() {
        check(
            "0x01 0x03\n",
            "0x01\n",
            &[
                "andon_flash_life_used_ratio{device=\"mmcblk0\",part=\"a\"} 0.1",
                "andon_flash_life_used_ratio{device=\"mmcblk0\",part=\"b\"} 0.3",
                "andon_flash_pre_eol{device=\"mmcblk0\"} 1",
            ],
        );
        check("0x00 0x0b", "0x00", &["andon_flash_life_used_ratio{device=\"mmcblk0\",part=\"b\"} 1.1"]);
        check("0x0c zz", "", &[]);
        check("", "0x02", &["andon_flash_pre_eol{device=\"mmcblk0\"} 2"]);
    }

    #[test]
    fn the_most_worn_cells_count_and_a_card_is_known_by_its_number() {
        let card = "class/mmc_host/mmc0/mmc0:0001";
        let sys = tree(&[
            (&format!("{card}/life_time"), "0x02 0x05\n"),
            (&format!("{card}/cid"), "150100424a\n"),
            (&format!("{card}/block/mmcblk0/size"), "1\n"),
        ]);
        let life = FlashLife { device: "mmcblk0".to_owned(), id: "150100424a".to_owned(), step: 5 };
        assert_eq!(flash_lives(sys.path()), [life]);
        assert_eq!(flash_lives(Path::new("/none")), []);
    }

    #[test]
    fn a_folder_lies_on_a_disk() {
        let folder = tempfile::tempdir().unwrap();
        let device = std::fs::metadata(folder.path()).unwrap().st_dev();
        let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        let sys = tree(&[("devices/mmc0/block/mmcblk0/mmcblk0p2/partition", "2\n"), ("dev/block/x", "")]);
        assert_eq!(disk_of(sys.path(), folder.path()), None);
        let link = sys.path().join("dev/block").join(number);
        std::os::unix::fs::symlink(sys.path().join("devices/mmc0/block/mmcblk0/mmcblk0p2"), &link).unwrap();
        assert_eq!(disk_of(sys.path(), folder.path()).as_deref(), Some("mmcblk0"));
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(sys.path().join("devices/mmc0/block/mmcblk0"), &link).unwrap();
        assert_eq!(disk_of(sys.path(), folder.path()).as_deref(), Some("mmcblk0"));
    }
}
