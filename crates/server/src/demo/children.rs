//! Child processes with their last words: each one's log goes to a file and its newest lines are kept.

use crate::READY;
use crate::config::Complaint;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines kept to be shown when a child dies.
const LAST_LINES: usize = 15;

/// What the demo hears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// The child with this number serves.
    Ready(usize),
    /// The child with this number closed its log: it is ending.
    Ended(usize),
    /// Somebody pressed Ctrl-C or sent SIGTERM.
    Stop,
}

/// One running child. Dropping it kills the process.
pub struct Running {
    /// What it is called in messages.
    pub name: String,
    child: Child,
    last: Arc<Mutex<VecDeque<String>>>,
}

impl Running {
    /// Start a child as number `number`: its standard error goes to the file, its news to `news`. It gets a process
    /// group of its own, so that Ctrl-C reaches the demo alone and the demo decides in which order things stop.
    pub fn launch(
        number: usize,
        name: &str,
        mut command: Command,
        plan: (&Path, Sender<News>),
    ) -> Result<Running, Complaint> {
        let (log, news) = plan;
        let complain = |what: &str, e: std::io::Error| Complaint::new(format!("cannot {what} for {name}: {e}"));
        let mut file = File::create(log).map_err(|e| complain("create the log", e))?;
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|e| complain("start a process", e))?;
        let last = Arc::new(Mutex::new(VecDeque::new()));
        let (lines, kept) = (child.stderr.take(), last.clone());
        let read = move || {
            let lines = lines.into_iter().flat_map(|pipe| BufReader::new(pipe).split(b'\n')).map_while(Result::ok);
            for line in lines.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()) {
                let _ = writeln!(file, "{line}");
                let ready = line.contains(READY);
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push_back(line);
                if kept.len() > LAST_LINES {
                    kept.pop_front();
                }
                drop(kept);
                if ready {
                    let _ = news.send(News::Ready(number));
                }
            }
            let _ = news.send(News::Ended(number));
        };
        std::thread::Builder::new()
            .name(format!("log-{name}"))
            .spawn(read)
            .map_err(|e| complain("start a thread", e))?;
        Ok(Running { name: name.to_string(), child, last })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The newest lines of its log.
    pub fn last_lines(&self) -> Vec<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Ask it to stop; it may take its time.
    pub fn terminate(&self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
    }

    /// Wait until it has ended, at most this long; `None` if it still runs.
    pub fn wait(&mut self, most: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + most;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                _ => return None,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Stop all: ask each, wait, then kill what is left. Returns the names of those that had to be killed.
pub fn stop_all(children: &mut [Running], patience: Duration) -> Vec<String> {
    children.iter().for_each(Running::terminate);
    let deadline = Instant::now() + patience;
    let mut killed = Vec::new();
    for child in children {
        if child.wait(deadline.saturating_duration_since(Instant::now())).is_none() {
            let _ = child.child.kill();
            let _ = child.child.wait();
            killed.push(child.name.clone());
        }
    }
    killed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    fn launch(script: &str) -> (Running, Receiver<News>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let (send, receive) = channel();
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        let running = Running::launch(7, "n7", command, (&dir.path().join("n7.log"), send)).unwrap();
        (running, receive, dir)
    }

    #[test]
    fn a_child_is_heard_and_stops_when_asked() {
        let (running, news, dir) =
            launch("trap 'exit 0' TERM; echo ready to serve client requests >&2; while :; do sleep 0.05; done");
        assert_eq!(news.recv_timeout(Duration::from_secs(10)).unwrap(), News::Ready(7));
        let mut children = [running];
        assert_eq!(stop_all(&mut children, Duration::from_secs(10)), Vec::<String>::new());
        assert_eq!(news.recv_timeout(Duration::from_secs(10)).unwrap(), News::Ended(7));
        let log = std::fs::read_to_string(dir.path().join("n7.log")).unwrap();
        assert_eq!(log, "ready to serve client requests\n");
    }

    #[test]
    fn a_deaf_child_is_killed() {
        let (running, news, _dir) =
            launch("trap '' TERM; echo ready to serve client requests >&2; while :; do sleep 0.05; done");
        assert_eq!(news.recv_timeout(Duration::from_secs(10)).unwrap(), News::Ready(7));
        assert_eq!(stop_all(&mut [running], Duration::from_millis(200)), ["n7"]);
    }

    #[test]
    fn the_last_words_are_kept() {
        let (mut running, news, _dir) = launch("for i in $(seq 40); do echo line $i >&2; done; exit 3");
        assert_eq!(news.recv_timeout(Duration::from_secs(10)).unwrap(), News::Ended(7));
        assert_eq!(running.wait(Duration::from_secs(10)).unwrap().code(), Some(3));
        let last = running.last_lines();
        assert_eq!((last.len(), last[14].as_str()), (LAST_LINES, "line 40"));
    }

    #[test]
    fn a_child_ends_when_its_owner_forgets_it() {
        let (running, _news, _dir) = launch("while :; do sleep 0.05; done");
        let pid = running.pid();
        drop(running);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
