//! The live view: the terminal is this command's until a key ends it.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use crossterm::{execute, queue};
use jiff::Zoned;
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::machine::Machine;
use super::rows::{Round, Sort};
use super::{FIRST, look};
use crate::client::Daemon;
use crate::format::List;

const KEYS: &str = "c CPU   m memory   n name   u uptime   q quit";
/// Ctrl-C of a terminal that makes no signal of it.
const INTERRUPT: u8 = 3;

pub(super) async fn run(
    daemon: &Daemon,
    list: &List,
    mut sort: Sort,
    interval: Duration,
) -> anyhow::Result<ExitCode> {
    let mut last = Vec::new();
    let mut now = look(daemon).await?;
    let screen = Screen::enter()?;
    let mut keys = tokio::io::stdin();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut next = Instant::now() + FIRST.min(interval);
    let mut key = [0_u8];
    loop {
        draw(list, &last, &now, sort)?;
        tokio::select! {
            () = sleep_until(next) => {
                last = std::mem::replace(&mut now, look(daemon).await?);
                next = Instant::now() + interval;
            }
            read = keys.read(&mut key) => match (read?, key[0]) {
                (0, _) | (_, b'q' | b'Q' | INTERRUPT) => break,
                (_, b'c' | b'P') => sort = Sort::Cpu,
                (_, b'm' | b'M') => sort = Sort::Memory,
                (_, b'n' | b'N') => sort = Sort::Name,
                (_, b'u') => sort = Sort::Uptime,
                _ => {}
            },
            _ = resized.recv() => {}
            _ = terminate.recv() => break,
        }
    }
    drop(screen);
    Ok(ExitCode::SUCCESS)
}

fn draw(list: &List, last: &[Machine], now: &[Machine], sort: Sort) -> anyhow::Result<()> {
    let (columns, rows) = size()?;
    let mut round = Round::new(last, now);
    round.sort(sort);
    let table = list.render(&round.rows())?;
    let time = Zoned::now().strftime("%H:%M:%S");
    let head = format!("hull top  {time}  {}", round.sum());
    let mut out = io::stdout().lock();
    let mut line = |row: u16, text: &str, bold: bool| -> io::Result<()> {
        let text: String = text.chars().take(columns.into()).collect();
        if bold {
            queue!(out, SetAttribute(Attribute::Bold))?;
        }
        queue!(
            out,
            MoveTo(0, row),
            Print(text),
            SetAttribute(Attribute::Reset),
            Clear(ClearType::UntilNewLine)
        )
    };
    line(0, &head, false)?;
    line(1, "", false)?;
    // The last line has the keys; what has no room is not shown.
    let last_row = rows.saturating_sub(1);
    let mut row = 2;
    for text in table.lines() {
        if row >= last_row {
            break;
        }
        line(row, text, row == 2)?;
        row += 1;
    }
    for empty in row..last_row {
        line(empty, "", false)?;
    }
    line(last_row, KEYS, false)?;
    out.flush()?;
    Ok(())
}

/// Another screen, on which nobody sees what is typed. The person's own comes back when this goes.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        let screen = Self;
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}
