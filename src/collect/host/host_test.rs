use std::collections::BTreeMap;

use super::*;
use crate::model::AnchoredRegex;
use crate::wire::exposition::render;

/// Writes a tree of files and returns what is read from it, by series.
fn readings(files: &[(&str, &str)]) -> (BTreeMap<String, String>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let config = HostConfig {
        job: "host".to_owned(),
        interval: Duration::from_secs(15),
        proc_root: folder.path().join("proc"),
        sys_root: folder.path().join("sys"),
        file_system_root: PathBuf::from("/"),
        mount_points_exclude: AnchoredRegex::new(HostConfig::MOUNT_POINTS_EXCLUDE).unwrap(),
        file_systems_exclude: AnchoredRegex::new(HostConfig::FILE_SYSTEMS_EXCLUDE).unwrap(),
        disks_exclude: AnchoredRegex::new(HostConfig::DISKS_EXCLUDE).unwrap(),
        networks_exclude: AnchoredRegex::new("").unwrap(),
    };
    let (families, problems) = read(&config, Timestamp::from_millis(1_700_000_000_500));
    let text = render(&families);
    let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    (lines.map(|(series, value)| (series.to_owned(), value.to_owned())).collect(), problems)
}

const TREE: [(&str, &str); 22] = [
    (
        "proc/stat",
        "cpu  3 3 3 3 3 3 3 3 3 3\ncpu0 100 2 300 4000 50 6 70 8 9 10\nintr 77 0 0\nctxt 88\nbtime 1700000000\n\
         processes 99\nprocs_running 2\nprocs_blocked 1\nsoftirq 5 1 2\n",
    ),
    ("proc/loadavg", "0.50 0.25 0.10 1/234 5678\n"),
    (
        "proc/meminfo",
        "MemTotal:       1000 kB\nMemAvailable:    250 kB\nActive(anon):     10 kB\nHugePages_Total:       3\n",
    ),
    ("proc/vmstat", "nr_free_pages 1\npgpgin 5\npgfault 6\noom_kill 2\npgsteal_x 9\n"),
    (
        "proc/1/mounts",
        "/dev/root / ext4 ro,relatime 0 0\nproc /proc proc rw 0 0\n/dev/sda1 /no\\040such\\040place ext4 rw 0 0\n\
         tmpfs /run tmpfs rw 0 0\noverlay /x overlay rw 0 0\n/dev/root / ext4 ro,relatime 0 0\n",
    ),
    (
        "proc/diskstats",
        "   8 0 sda 10 1 200 33 40 5 600 7 8 9 1001 11 12 13 14 15 16\n   8 1 sda1 1 1 1 1 1 1 1 1 1 1 1\n 259 0 nvme0n1 1 0 8 2 0 0 0 0 0 0 0\n",
    ),
    (
        "proc/net/dev",
        "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes\n\
         \x20 eth0: 1000 2 3 4 5 6 7 8 9000 10 11 12 13 14 15 16\n    lo:5 0 0 0 0 0 0 0 5 0 0 0 0 0 0 0\n",
    ),
    ("proc/net/sockstat", "sockets: used 100\nTCP: inuse 5 orphan 0 tw 2 alloc 7 mem 1\n"),
    ("proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\n"),
    ("proc/pressure/io", "some avg10=0 avg60=0 avg300=0 total=2000000\nfull avg10=0 avg60=0 avg300=0 total=1000000\n"),
    ("proc/sys/kernel/ostype", "Linux\n"),
    ("proc/sys/kernel/osrelease", "6.1.0\n"),
    ("proc/sys/kernel/version", "#1 SMP\n"),
    ("proc/sys/kernel/arch", "x86_64\n"),
    ("proc/sys/kernel/hostname", "box\n"),
    ("proc/sys/kernel/domainname", "(none)\n"),
    ("proc/sys/fs/file-nr", "1024\t0\t9000\n"),
    ("sys/class/net/eth0/operstate", "up\n"),
    ("sys/class/net/eth0/speed", "1000\n"),
    ("sys/class/thermal/thermal_zone0/temp", "45500\n"),
    ("sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n"),
    ("sys/class/hwmon/hwmon0/temp1_input", "51000\n"),
];

#[track_caller]
fn check(readings: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    for (series, value) in expected {
        assert_eq!(readings.get(*series).map(String::as_str), Some(*value), "{series} in {readings:#?}");
    }
}

#[test]
fn a_machine_is_read() {
    let mut tree = TREE.to_vec();
    tree.push(("sys/class/hwmon/hwmon0/name", "Core Temp\n"));
    tree.push(("sys/class/hwmon/hwmon0/temp1_label", "Package id 0\n"));
    let (readings, problems) = readings(&tree);
    assert_eq!(problems, Vec::<String>::new());
    check(
        &readings,
        &[
            ("node_cpu_seconds_total{cpu=\"0\",mode=\"user\"}", "1"),
            ("node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"}", "40"),
            ("node_cpu_seconds_total{cpu=\"0\",mode=\"steal\"}", "0.08"),
            ("node_cpu_guest_seconds_total{cpu=\"0\",mode=\"nice\"}", "0.1"),
            ("node_boot_time_seconds", "1700000000"),
            ("node_context_switches_total", "88"),
            ("node_load5", "0.25"),
            ("node_memory_MemTotal_bytes", "1024000"),
            ("node_memory_MemAvailable_bytes", "256000"),
            ("node_memory_Active_anon_bytes", "10240"),
            ("node_memory_HugePages_Total", "3"),
            ("node_vmstat_pgfault", "6"),
            ("node_vmstat_oom_kill", "2"),
            ("node_disk_read_bytes_total{device=\"sda\"}", "102400"),
            ("node_disk_io_time_seconds_total{device=\"sda\"}", "0.009"),
            ("node_disk_flush_requests_time_seconds_total{device=\"sda\"}", "0.016"),
            ("node_disk_io_now{device=\"sda\"}", "8"),
            ("node_disk_reads_completed_total{device=\"nvme0n1\"}", "1"),
            ("node_network_receive_bytes_total{device=\"eth0\"}", "1000"),
            ("node_network_transmit_bytes_total{device=\"eth0\"}", "9000"),
            ("node_network_transmit_carrier_total{device=\"eth0\"}", "15"),
            ("node_network_receive_bytes_total{device=\"lo\"}", "5"),
            ("node_network_up{device=\"eth0\"}", "1"),
            ("node_network_speed_bytes{device=\"eth0\"}", "125000000"),
            ("node_sockstat_TCP_tw", "2"),
            ("node_pressure_cpu_waiting_seconds_total", "1.5"),
            ("node_pressure_io_stalled_seconds_total", "1"),
            (
                "node_uname_info{domainname=\"(none)\",machine=\"x86_64\",nodename=\"box\",release=\"6.1.0\",sysname=\"Linux\",version=\"#1 SMP\"}",
                "1",
            ),
            ("node_filefd_maximum", "9000"),
            ("node_thermal_zone_temp{type=\"x86_pkg_temp\",zone=\"0\"}", "45.5"),
            ("node_hwmon_temp_celsius{chip=\"core_temp\",sensor=\"temp1\"}", "51"),
            ("node_hwmon_sensor_label{chip=\"core_temp\",label=\"Package id 0\",sensor=\"temp1\"}", "1"),
            ("node_time_seconds", "1700000000.5"),
            ("node_scrape_collector_success{collector=\"cpu\"}", "1"),
        ],
    );
    assert!(!readings.keys().any(|k| k.contains("sda1\"} ") || k.contains("node_disk") && k.contains("\"sda1\"")));
    assert!(!readings.contains_key("node_vmstat_pgsteal_x") && !readings.contains_key("node_vmstat_nr_free_pages"));
}

#[test]
fn file_systems_are_those_that_hold_data() {
    let (readings, _) = readings(&TREE);
    let root = "device=\"/dev/root\",fstype=\"ext4\",mountpoint=\"/\"";
    check(
        &readings,
        &[
            (&format!("node_filesystem_readonly{{{root}}}"), "1"),
            (&format!("node_filesystem_device_error{{{root}}}"), "0"),
        ],
    );
    let size: f64 = readings[&format!("node_filesystem_size_bytes{{{root}}}")].parse().unwrap();
    let available: f64 = readings[&format!("node_filesystem_avail_bytes{{{root}}}")].parse().unwrap();
    assert!(size >= available && available > 0.0);
    let gone = "device=\"/dev/sda1\",fstype=\"ext4\",mountpoint=\"/no such place\"";
    check(&readings, &[(&format!("node_filesystem_device_error{{{gone}}}"), "1")]);
    assert!(!readings.keys().any(|k| k.contains("overlay") || k.contains("/proc")));
    assert!(readings.keys().any(|k| k.contains("fstype=\"tmpfs\"")));
}

#[test]
fn a_part_that_fails_is_named_and_the_others_go_on() {
    let (readings, problems) = readings(&TREE[1..]);
    check(&readings, &[("node_scrape_collector_success{collector=\"cpu\"}", "0"), ("node_load1", "0.5")]);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("cpu: ") && problems[0].contains("stat: No such file"), "{problems:?}");
}
