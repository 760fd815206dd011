//! The real program in a folder of its own: started, asked, killed, stopped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a start may take on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Returns the program that was built with the tests.
pub(crate) fn andon() -> Command {
    Command::new(env!("CARGO_BIN_EXE_andon"))
}

/// What a finished command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command to its end.
pub(crate) fn say(arguments: &[&str]) -> Said {
    let output = andon().args(arguments).stdin(Stdio::null()).output().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A running box.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
    folder: PathBuf,
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// The body, which need not be text.
    pub(crate) bytes: Vec<u8>,
}

impl Program {
    /// Starts `andon run` on a port of the system's choice and waits until it is ready.
    pub(crate) fn start(folder: &Path, settings: &str) -> Program {
        let file = folder.join("andon.yml");
        std::fs::write(&file, settings).unwrap();
        let mut child = andon()
            .args(["run", "--listen", "127.0.0.1:0", "--config"])
            .arg(&file)
            .arg("--data")
            .arg(folder.join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        let (found, address) = mpsc::sync_channel(1);
        std::thread::Builder::new()
            .spawn(move || {
                // Reads to the end, so that the program never waits for us.
                let mut seen = String::new();
                for line in lines.lines().map_while(Result::ok) {
                    if let Some(text) = line.split("address=").nth(1) {
                        let text = text.split_whitespace().next().unwrap_or("");
                        let _ = found.try_send(text.parse::<SocketAddr>().ok());
                    }
                    seen.push_str(&line);
                    seen.push('\n');
                }
                let _ = found.try_send(None);
                #[expect(clippy::print_stdout, reason = "shown by the runner where a test fails")]
                {
                    print!("{seen}");
                }
            })
            .unwrap();
        let address = address.recv_timeout(READY_WITHIN).unwrap().expect("the program ended before it listened");
        let program = Program { child, address, folder: folder.to_owned() };
        let end = Instant::now() + READY_WITHIN;
        while program.get("/-/ready").is_none_or(|a| a.status != 200) {
            assert!(Instant::now() < end, "not ready after {READY_WITHIN:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        program
    }

    /// Asks for a path; `None` if nobody answers.
    pub(crate) fn get(&self, path: &str) -> Option<Answer> {
        self.request("GET", path, "", &[])
    }

    /// Sends a request with a body.
    pub(crate) fn request(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Option<Answer> {
        Program::request_to(self.address, method, path, content_type, body)
    }

    /// As [`Program::request`], for a thread that goes on while the program is killed.
    pub(crate) fn request_to(
        address: SocketAddr,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Option<Answer> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        let kind = if content_type.is_empty() { String::new() } else { format!("content-type: {content_type}\r\n") };
        let encoding =
            if content_type.starts_with("application/x-protobuf") { "content-encoding: snappy\r\n" } else { "" };
        let head = format!(
            "{method} {path} HTTP/1.0\r\nhost: {}\r\nconnection: close\r\n{kind}{encoding}content-length: {}\r\n\r\n",
            address,
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body).ok()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).ok()?;
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let body = bytes.split_off(end + 4);
        let head = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, head, body: String::from_utf8_lossy(&body).into_owned(), bytes: body })
    }

    /// Returns the process's number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the program as a power switch would, but for the disk's cache.
    pub(crate) fn kill(mut self) -> PathBuf {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.folder.clone()
    }

    /// Asks the program to stop and waits for it.
    pub(crate) fn stop(mut self) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        (status, asked.elapsed())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
