//! The other end: what was written, and what is being written.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::{LONGEST_LINE, Line, rotated};
use crate::attachment::OutputStream;

/// So many bytes are read at once.
const BLOCK: usize = 64 * 1024;
/// A line of the file may be so long: JSON needs up to six bytes for one.
const LONGEST: usize = 8 * LONGEST_LINE;
/// So many entries wait for whoever reads them.
const AHEAD: usize = 64;

/// Which part of a log is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogsWanted {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Nothing before this.
    pub since: Option<Timestamp>,
    /// Nothing after this.
    pub until: Option<Timestamp>,
    /// Only so many of the last lines.
    pub tail: Option<u64>,
    /// What comes, too, until the container's end.
    pub follow: bool,
}

/// One line of a program's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it came from.
    pub stream: OutputStream,
    /// When it was whole.
    pub time: Timestamp,
    /// The line, with its end if it had one.
    pub data: Vec<u8>,
}

/// The lines that were wanted, one after the other.
#[derive(Debug)]
pub struct Logs(mpsc::Receiver<io::Result<LogEntry>>);

impl Logs {
    /// The next one; nothing at the end.
    pub async fn next(&mut self) -> Option<io::Result<LogEntry>> {
        self.0.recv().await
    }
}

/// Reads the log of this name, and follows it until `ended` is done, if that is wanted.
pub(crate) fn read(
    path: PathBuf,
    wanted: LogsWanted,
    ended: impl Future<Output = ()> + Send + 'static,
) -> Logs {
    let (entries, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let reader = Reader {
            path,
            wanted,
            entries: entries.clone(),
        };
        if let Err(Stop::Failed(error)) = reader.run(ended).await {
            let _ = entries.send(Err(error)).await;
        }
    });
    Logs(receiver)
}

/// Why no more is read.
enum Stop {
    Failed(io::Error),
    /// Nobody wants more, or nothing that comes is wanted.
    Enough,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

struct Reader {
    path: PathBuf,
    wanted: LogsWanted,
    entries: mpsc::Sender<io::Result<LogEntry>>,
}

impl Reader {
    async fn run(&self, ended: impl Future<Output = ()>) -> Result<(), Stop> {
        // Watched before anything is read, so that nothing is written unseen.
        let changes = match self.wanted.follow {
            true => Some(Changes::of(&self.path)?),
            false => None,
        };
        let mut files = open_all(&self.path)?;
        if let Some(count) = self.wanted.tail {
            // All of them may have to be read for this.
            let skipped = tokio::task::spawn_blocking(move || tail_of(files, count));
            files = skipped.await.map_err(io::Error::other)??;
        }
        let mut current = None;
        for mut file in files {
            self.pass(&mut file).await?;
            current = Some(file);
        }
        match changes {
            Some(changes) => self.follow(current, changes, ended).await,
            None => Ok(()),
        }
    }

    /// Passes on all that a file has now.
    async fn pass(&self, lines: &mut Lines) -> Result<(), Stop> {
        while let Some(line) = lines.next()? {
            let Some(entry) = self.select(&line)? else {
                // There may be gigabytes of these, and whoever wants others may be gone.
                if self.entries.is_closed() {
                    return Err(Stop::Enough);
                }
                tokio::task::coop::consume_budget().await;
                continue;
            };
            let sent = self.entries.send(Ok(entry)).await;
            sent.map_err(|_| Stop::Enough)?;
        }
        Ok(())
    }

    fn select(&self, line: &[u8]) -> Result<Option<LogEntry>, Stop> {
        // One that was cut off by a full disk is no line.
        let Ok(line) = serde_json::from_slice::<Line<'_>>(line) else {
            return Ok(None);
        };
        if self.wanted.until.is_some_and(|until| line.time > until) {
            return Err(Stop::Enough);
        }
        let wanted = match line.stream {
            OutputStream::Stdout => self.wanted.stdout,
            OutputStream::Stderr => self.wanted.stderr,
        } && self.wanted.since.is_none_or(|since| line.time >= since);
        Ok(wanted.then(|| LogEntry {
            stream: line.stream,
            time: line.time,
            data: line.log.into_owned().into_bytes(),
        }))
    }

    async fn follow(
        &self,
        mut current: Option<Lines>,
        mut changes: Changes,
        ended: impl Future<Output = ()>,
    ) -> Result<(), Stop> {
        let mut ended = std::pin::pin!(ended);
        let mut is_over = false;
        while !is_over {
            tokio::select! {
                biased;
                () = self.entries.closed() => return Err(Stop::Enough),
                changed = changes.wait() => changed?,
                () = self.until() => return Err(Stop::Enough),
                // Once more: what was written last may not have been seen yet.
                () = &mut ended => is_over = true,
            }
            current = self.catch_up(current).await?;
        }
        Ok(())
    }

    /// Passes on what came since, from files that took the place of this one, too.
    async fn catch_up(&self, mut current: Option<Lines>) -> Result<Option<Lines>, Stop> {
        if let Some(lines) = &mut current {
            self.pass(lines).await?;
            if File::open(&self.path).is_ok_and(|file| lines.is_of(&file)) {
                return Ok(current);
            }
        }
        let mut files = open_all(&self.path)?;
        let known = current
            .as_ref()
            .and_then(|current| files.iter().position(|lines| current.is_of(&lines.file)));
        for mut file in files.drain(known.map_or(0, |index| index + 1)..) {
            if let Some(old) = &mut current {
                // Its last lines may have come after it was read.
                self.pass(old).await?;
            }
            self.pass(&mut file).await?;
            current = Some(file);
        }
        Ok(current)
    }

    /// Waits until nothing that comes is wanted.
    async fn until(&self) {
        let left = self.wanted.until.and_then(|until| {
            let left = Timestamp::now().until(until).ok()?;
            std::time::Duration::try_from(left).ok()
        });
        match (self.wanted.until, left) {
            (None, _) => std::future::pending().await,
            (Some(_), Some(left)) => tokio::time::sleep(left).await,
            (Some(_), None) => {}
        }
    }
}

/// The files of a log, the oldest first.
fn open_all(path: &Path) -> io::Result<Vec<Lines>> {
    loop {
        let older = (1..)
            .map(|age| rotated(path, age))
            .take_while(|path| path.exists());
        let mut names: Vec<PathBuf> = std::iter::once(path.to_owned()).chain(older).collect();
        names.reverse();
        let mut files = Vec::new();
        for name in names {
            match File::open(&name) {
                Ok(file) => files.push(Lines::of(file)),
                // It was renamed, or thrown away, just now; or there is none yet.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let is_last = |file: &File| files.last().is_some_and(|lines| lines.is_of(file));
        match File::open(path) {
            // Otherwise they were renamed meanwhile, so that one may have been missed.
            Ok(file) if is_last(&file) => return Ok(files),
            Err(error) if error.kind() == io::ErrorKind::NotFound && files.is_empty() => {
                return Ok(files);
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
}

/// The files in which the last `count` lines are, and these alone left to be read. Blocking.
fn tail_of(mut files: Vec<Lines>, mut count: u64) -> io::Result<Vec<Lines>> {
    let mut first = files.len();
    for (index, lines) in files.iter_mut().enumerate().rev() {
        first = index;
        count = lines.skip_to_last(count)?;
        if count == 0 {
            break;
        }
    }
    files.drain(..first);
    Ok(files)
}

/// The lines of a file, as far as they are whole.
#[derive(Debug)]
struct Lines {
    file: File,
    text: Vec<u8>,
    begin: usize,
}

impl Lines {
    fn of(file: File) -> Self {
        Self {
            file,
            text: Vec::new(),
            begin: 0,
        }
    }

    fn is_of(&self, other: &File) -> bool {
        let known = |file: &File| file.metadata().map(|known| (known.dev(), known.ino()));
        matches!((known(&self.file), known(other)), (Ok(one), Ok(other)) if one == other)
    }

    /// The next whole line, without its end.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            let rest = self.text.get(self.begin..).unwrap_or_default();
            let found = rest.get(searched..).unwrap_or_default();
            if let Some(end) = found.iter().position(|byte| *byte == b'\n') {
                let end = searched + end;
                let line = rest.get(..end).unwrap_or_default().to_vec();
                self.begin += end + 1;
                return Ok(Some(line));
            }
            searched = rest.len();
            self.text.drain(..self.begin);
            self.begin = 0;
            if searched > LONGEST {
                // Nobody who writes logs writes such a line.
                self.text.clear();
                searched = 0;
            }
            let length = self.text.len();
            self.text.resize(length + BLOCK, 0);
            let count = self
                .file
                .read(self.text.get_mut(length..).unwrap_or_default());
            self.text.truncate(length + *count.as_ref().unwrap_or(&0));
            if count? == 0 {
                return Ok(None);
            }
        }
    }

    /// Goes to where `count` lines are left; how many more there would have to be.
    fn skip_to_last(&mut self, count: u64) -> io::Result<u64> {
        let mut end = self.file.seek(SeekFrom::End(0))?;
        let (mut seen, mut block) = (0, vec![0; BLOCK]);
        while end > 0 {
            let begin = end.saturating_sub(BLOCK as u64);
            let length = usize::try_from(end - begin).unwrap_or(BLOCK);
            let piece = block.get_mut(..length).unwrap_or_default();
            self.file.seek(SeekFrom::Start(begin))?;
            self.file.read_exact(piece)?;
            let ends = piece.iter().enumerate().rev();
            for (index, _) in ends.filter(|(_, byte)| **byte == b'\n') {
                if seen == count {
                    // The line that ends here is one too many.
                    self.file.seek(SeekFrom::Start(begin + index as u64 + 1))?;
                    return Ok(0);
                }
                seen += 1;
            }
            end = begin;
        }
        self.file.seek(SeekFrom::Start(0))?;
        Ok(count - seen)
    }
}

/// Says when a log was written to, or another file took its place.
struct Changes {
    watch: pipe::Receiver,
    path: PathBuf,
}

impl Changes {
    fn of(path: &Path) -> io::Result<Self> {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let directory = path.parent().unwrap_or(Path::new("."));
        // Not its writes: a disk may be in it, too.
        inotify::add_watch(&watch, directory, WatchFlags::CREATE | WatchFlags::MOVED_TO)?;
        let changes = Self {
            // It is read like a pipe.
            watch: pipe::Receiver::from_file_unchecked(watch.into())?,
            path: path.to_owned(),
        };
        changes.watch_file();
        Ok(changes)
    }

    /// The file may be another one than before, or not be there yet.
    fn watch_file(&self) {
        let _ = inotify::add_watch(&self.watch, &self.path, WatchFlags::MODIFY);
    }

    async fn wait(&mut self) -> io::Result<()> {
        self.watch.readable().await?;
        let mut buffer = [0; 4096];
        // What changed is looked for, whatever it was.
        while matches!(self.watch.try_read(&mut buffer), Ok(1..)) {}
        self.watch_file();
        Ok(())
    }
}
