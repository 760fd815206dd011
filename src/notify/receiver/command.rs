//! A notice as a run of a command: no shell, the JSON of a webhook on its standard input, a short environment.
//!
//! It runs as the box does, with all that its unit forbids: it sees the file system as the unit shows it and gains no
//! rights. What it says is read up to a bound; after the way's time it is killed with everything that it started.

use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;

use super::{Failure, webhook};
use crate::notify::message::{Message, status};
use crate::template::Template;

/// Most that is kept of what it says on standard error.
const SAID_BYTES_MAX: usize = 4 << 10;

/// Where programs are looked for if the command is no path.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// How often it is looked whether the command has ended, once it has closed its output.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// One entry of `command_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The program.
    pub program: String,
    /// Its arguments, each as it is: no shell reads them.
    pub arguments: Vec<Template>,
}

/// A command that is ready to run.
#[derive(Debug)]
pub(super) struct Call {
    program: String,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    input: String,
}

impl Command {
    pub(super) fn call(&self, message: &Message<'_>) -> Result<Call, String> {
        let arguments = self.arguments.iter().map(|a| message.render(a)).collect::<Result<Vec<String>, String>>()?;
        if arguments.iter().any(|a| a.contains('\0')) {
            return Err("an argument holds a zero byte".to_owned());
        }
        let notice = message.notice;
        let firing = notice.firing();
        Ok(Call {
            program: self.program.clone(),
            arguments,
            environment: vec![
                ("PATH", PATH.to_owned()),
                ("ANDON_STATUS", status(message.is_firing()).to_owned()),
                ("ANDON_RECEIVER", notice.receiver.clone()),
                ("ANDON_FIRING", firing.to_string()),
                ("ANDON_RESOLVED", (notice.alarms.len() - firing).to_string()),
            ],
            input: webhook::body(message, 0),
        })
    }
}

/// A running command; what is left of it is killed when this goes.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Ok(raw) = i32::try_from(self.0.id())
            && let Some(group) = Pid::from_raw(raw)
        {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

/// Runs the command to its end; taken if it ends with 0.
pub(super) async fn run(call: Call, timeout: Duration) -> Result<(), Failure> {
    let Call { program, arguments, environment, input } = call;
    let spawned = std::process::Command::new(&program)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut running = Running(spawned.map_err(|e| Failure::passing(format!("cannot run {program}: {e}")))?);
    match tokio::time::timeout(timeout, follow(&mut running.0, input)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::passing(format!("{program} did not end within {timeout:?} and was killed"))),
    }
}

/// Hands the command its input, takes what it says, waits for its end.
async fn follow(child: &mut Child, input: String) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::passing(format!("cannot talk to the command: {e}"));
    let stdin = child.stdin.take().map(|pipe| pipe::Sender::from_owned_fd(pipe.into())).transpose().map_err(failed)?;
    let stderr =
        child.stderr.take().map(|pipe| pipe::Receiver::from_owned_fd(pipe.into())).transpose().map_err(failed)?;
    let give = async {
        if let Some(mut stdin) = stdin {
            // It need not read it.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let hear = async {
        let mut said = Vec::new();
        let Some(mut stderr) = stderr else { return said };
        let mut piece = [0; 1024];
        while let Ok(length @ 1..) = stderr.read(&mut piece).await {
            let room = SAID_BYTES_MAX.saturating_sub(said.len()).min(length);
            said.extend_from_slice(piece.get(..room).unwrap_or_default());
        }
        said
    };
    let ((), said) = tokio::join!(give, hear);
    let ended = loop {
        match child.try_wait().map_err(failed)? {
            Some(ended) => break ended,
            None => tokio::time::sleep(LOOK_INTERVAL).await,
        }
    };
    if ended.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let line: String = said.lines().next().unwrap_or("").chars().take(200).collect();
    Err(Failure::passing(format!("{ended}: {line}").trim_end_matches([':', ' ']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Call {
        Call {
            program: "/bin/sh".to_owned(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            environment: vec![("PATH", PATH.to_owned()), ("ANDON_STATUS", "firing".to_owned())],
            input: "x".repeat(1 << 20),
        }
    }

    #[track_caller]
    fn check(script: &str, expected: Result<(), &str>) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        let call = shell(script);
        let expected = expected.map_err(str::to_owned);
        async move {
            let found = run(call, Duration::from_secs(2)).await.map_err(|f| f.reason);
            match (&found, &expected) {
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{found} at {place}"),
                _ => assert_eq!(found, expected, "at {place}"),
            }
        }
    }

    #[tokio::test]
    async fn a_command_takes_a_notice_by_ending_with_0() {
        check("test \"$(wc -c)\" -eq 1048576 && test \"$ANDON_STATUS\" = firing && test -z \"$HOME\"", Ok(())).await;
        check("exit 0", Ok(())).await;
        check("echo no modem >&2; exit 3", Err("3: no modem")).await;
        let nowhere = Call { program: "/nowhere/x".to_owned(), ..shell("") };
        assert!(run(nowhere, Duration::from_secs(2)).await.unwrap_err().reason.contains("cannot run /nowhere/x"));
    }

    #[tokio::test]
    async fn a_command_that_never_ends_is_killed_with_its_children_and_one_that_talks_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("alive");
        let script = format!("(sleep 4; touch {0}) & yes >&2; wait", mark.display());
        check(&script, Err("was killed")).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!mark.exists(), "a child of the command lived on");
    }
}
