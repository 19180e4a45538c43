//! One turn of the loop: wait for whatever happens first, and deal with all that has happened.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Server, Times};
use crate::channel::{Channel, Phase};
use crate::sys::{read, signal, time};

/// Whose descriptor it is that something happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Signals,
    Listener,
    PowerButton,
    /// The connection of a channel.
    Socket(usize),
    /// Standard input of a channel's process.
    Input(usize),
    /// An output of a channel's process.
    Output(usize),
}

/// The most connections there may be.
const MAX_CHANNELS: usize = 1024;

impl Server {
    pub(super) fn turn(&mut self) {
        // The engine is served before children are reaped: an exit is reported after what was
        // written before it either way, but a process that has just started is already known.
        let happened = self.wait();
        for (source, flags) in &happened {
            match *source {
                Source::Socket(index) => self.socket(index, *flags),
                Source::Input(index) => {
                    if let Some(channel) = self.channels.get_mut(index) {
                        channel.flush_input();
                    }
                }
                Source::Listener => self.accept(),
                Source::PowerButton => self.power_button(),
                Source::Signals | Source::Output(_) => {}
            }
        }
        if happened
            .iter()
            .any(|(source, _)| *source == Source::Signals)
        {
            self.signalled();
        }
        for channel in &mut self.channels {
            channel.pump();
        }
        self.drop_closed();
    }

    fn wait(&mut self) -> Vec<(Source, PollFlags)> {
        let timeout = self.stopping.map(|stopping| {
            let left = stopping.deadline_us.saturating_sub(time::since_boot_us());
            Timespec {
                tv_sec: i64::try_from(left / 1_000_000).unwrap_or(0),
                tv_nsec: i64::try_from(left % 1_000_000 * 1000).unwrap_or(0),
            }
        });
        let mut sources = vec![Source::Signals];
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if let Some(button) = self
            .power_button
            .as_ref()
            .filter(|_| self.stopping.is_none())
        {
            sources.push(Source::PowerButton);
            fds.push(PollFd::new(button, PollFlags::IN));
        }
        if let Some(listener) = self
            .listener
            .as_ref()
            .filter(|_| self.channels.len() < MAX_CHANNELS)
        {
            sources.push(Source::Listener);
            fds.push(PollFd::new(listener, PollFlags::IN));
        }
        for (index, channel) in self.channels.iter().enumerate() {
            interests(index, channel, &mut sources, &mut fds);
        }
        if poll(&mut fds, timeout.as_ref()).is_err() {
            return Vec::new();
        }
        let flags = fds.iter().map(PollFd::revents);
        sources
            .into_iter()
            .zip(flags)
            .filter(|(_, flags)| !flags.is_empty())
            .collect()
    }

    fn socket(&mut self, index: usize, flags: PollFlags) {
        let Some(channel) = self.channels.get_mut(index) else {
            return;
        };
        if flags.contains(PollFlags::OUT) {
            channel.send();
        }
        if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            channel.receive();
            self.messages(index);
        }
    }

    fn accept(&mut self) {
        let listener = self.listener.as_ref();
        match listener.map(|listener| (self.transport.accept)(listener.as_fd())) {
            Some(Ok(socket)) => {
                let control = self.held;
                if control {
                    // Who comes back again has given up what he came back by before.
                    for before in self.channels.iter_mut().filter(|before| before.control) {
                        before.control = false;
                        before.phase = Phase::Closed;
                    }
                    let now = time::since_boot_us();
                    self.times = Times {
                        main_us: now,
                        ready_us: now,
                    };
                }
                self.channels.push(Channel::new(socket, control));
            }
            Some(Err(error)) => crate::log::warn(&format!("a connection was refused: {error}")),
            None => {}
        }
    }

    /// The connection says it all: nothing is read from it, and it ends with the machine.
    fn power_button(&mut self) {
        let button = self.power_button.as_ref();
        if let Some(Ok(_)) = button.map(|button| (self.transport.accept)(button.as_fd())) {
            self.stop();
        }
    }

    fn signalled(&mut self) {
        let mut records = Vec::new();
        if read::append(&self.signals, &mut records, 4 * signal::RECORD).is_err() {
            return;
        }
        for record in records.chunks_exact(signal::RECORD) {
            let number = record
                .first_chunk::<4>()
                .map_or(0, |bytes| u32::from_ne_bytes(*bytes));
            // Ctrl-Alt-Del reaches the agent as SIGINT; anything else is a request to end, too.
            if number != libc::SIGCHLD.cast_unsigned() {
                self.stop();
            }
        }
        self.reap();
    }
}

/// What to wait for on behalf of a channel. A descriptor that nothing is wanted of is left out: the
/// kernel would report its end again and again.
fn interests<'a>(
    index: usize,
    channel: &'a Channel,
    sources: &mut Vec<Source>,
    fds: &mut Vec<PollFd<'a>>,
) {
    if channel.phase != Phase::Closed {
        let mut flags = PollFlags::IN;
        if channel.has_outgoing() {
            flags |= PollFlags::OUT;
        }
        sources.push(Source::Socket(index));
        fds.push(PollFd::from_borrowed_fd(channel.socket(), flags));
    }
    let Some(process) = &channel.process else {
        return;
    };
    if let Some(fd) = process.input.waits_for() {
        sources.push(Source::Input(index));
        fds.push(PollFd::from_borrowed_fd(fd, PollFlags::OUT));
    }
    if channel.phase != Phase::Closed && channel.has_room() {
        for fd in process
            .outputs
            .iter()
            .filter_map(|output| output.waits_for())
        {
            sources.push(Source::Output(index));
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        }
    }
}
