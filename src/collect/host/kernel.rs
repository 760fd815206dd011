//! Load, kernel name and version, open files.

use super::{Part, Roots};
use crate::collect::families::Families;

pub(super) fn load(roots: &Roots, out: &mut Families) -> Part {
    let text = roots.proc("loadavg")?;
    let loads = text.split_whitespace().map_while(|word| word.parse::<f64>().ok());
    for ((name, help), value) in
        [("node_load1", "1m load average."), ("node_load5", "5m load average."), ("node_load15", "15m load average.")]
            .iter()
            .zip(loads)
    {
        out.gauge(name, help, &[], value);
    }
    Ok(())
}

pub(super) fn uname(roots: &Roots, out: &mut Families) -> Part {
    let read = |name: &str| roots.proc(&format!("sys/kernel/{name}")).map(|text| text.trim().to_owned());
    // Kernels before 6.1 do not name the machine in a file; then it is the one we were built for.
    let machine = read("arch").unwrap_or_else(|_| std::env::consts::ARCH.to_owned());
    let labels = [
        ("sysname", read("ostype")?),
        ("release", read("osrelease")?),
        ("version", read("version")?),
        ("machine", machine),
        ("nodename", read("hostname")?),
        ("domainname", read("domainname")?),
    ];
    let help = "Labeled system information as provided by the uname system call.";
    out.gauge("node_uname_info", help, &labels.each_ref().map(|(name, value)| (*name, value.as_str())), 1.0);
    Ok(())
}

pub(super) fn files(roots: &Roots, out: &mut Families) -> Part {
    let text = roots.proc("sys/fs/file-nr")?;
    let numbers: Vec<f64> = text.split_whitespace().map_while(|word| word.parse().ok()).collect();
    if let [allocated, _, maximum] = *numbers {
        out.gauge("node_filefd_allocated", "File descriptor statistics: allocated.", &[], allocated);
        out.gauge("node_filefd_maximum", "File descriptor statistics: maximum.", &[], maximum);
    }
    Ok(())
}
