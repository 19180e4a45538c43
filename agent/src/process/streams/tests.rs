use std::io::{Read, Write};

use hull_agent_protocol::{Frame, FromAgent, decode};
use rustix::fs::{OFlags, fcntl_setfl};

use super::*;

fn pipe() -> (std::fs::File, std::fs::File) {
    let (read, write) = rustix::pipe::pipe().unwrap();
    (read.into(), write.into())
}

/// An input whose process has not read anything yet, and the process's end.
fn input() -> (Input, std::fs::File) {
    let (read, write) = pipe();
    fcntl_setfl(&write, OFlags::NONBLOCK).unwrap();
    (Input::pipe(write.into()), read)
}

fn output() -> (Output, std::fs::File) {
    let (read, write) = pipe();
    fcntl_setfl(&read, OFlags::NONBLOCK).unwrap();
    (Output::new(Stream::Stdout, Rc::new(read.into())), write)
}

fn data(frames: &[u8]) -> Vec<u8> {
    let (mut rest, mut all) = (frames, Vec::new());
    while let Some(received) = decode::<FromAgent>(rest).unwrap() {
        let Frame::Data(Stream::Stdout, data) = received.frame else {
            panic!("no output")
        };
        all.extend_from_slice(data);
        rest = &rest[received.consumed..];
    }
    assert!(rest.is_empty());
    all
}

#[test]
fn input_reaches_a_process_that_reads_late_and_then_ends() {
    let (mut input, mut process) = input();
    let all: Vec<u8> = (0..=255).cycle().take(64 * 1024).collect();
    // Fill the pipe, so that the input has to hold what comes next.
    let mut sent = 0;
    while input.waits_for().is_none() {
        input.receive(&all[..4096]).unwrap();
        sent += 4096;
        assert!(sent < 1 << 20, "the pipe never fills up");
    }
    input.receive(b"the end").unwrap();
    input.end();
    assert!(
        input.waits_for().is_some(),
        "end of file must wait for what is pending"
    );
    let mut got = [0; 4096];
    let mut read = 0;
    while read < sent {
        let left = (sent - read).min(4096);
        read += process.read(&mut got[..left]).unwrap();
        input.flush();
    }
    let mut rest = Vec::new();
    process.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"the end");
}

#[test]
fn input_for_a_process_that_closed_it_is_dropped_with_credit() {
    let (mut input, process) = input();
    drop(process);
    let half = usize::try_from(Stream::Stdin.window()).unwrap() / 2;
    assert_eq!(
        input.receive(&vec![0; half]).unwrap(),
        Some(Stream::Stdin.window() / 2)
    );
    assert!(input.waits_for().is_none());
}

#[test]
fn more_input_than_the_window_is_refused() {
    let (mut input, _process) = input();
    let window = usize::try_from(Stream::Stdin.window()).unwrap();
    assert!(input.receive(&vec![0; window + 1]).is_err());
}

#[test]
fn output_stops_at_the_window_and_goes_on_with_credit() {
    let (mut output, mut process) = output();
    let window = usize::try_from(Stream::Stdout.window()).unwrap();
    let mut outgoing = Vec::new();
    let mut sent = 0;
    while output.waits_for().is_some() {
        process.write_all(&[1; 4096]).unwrap();
        assert_eq!(output.pump(&mut outgoing), Progress::Sent);
        sent += data(&outgoing).len();
        outgoing.clear();
    }
    assert_eq!(sent, window);
    process.write_all(b"more").unwrap();
    assert_eq!(output.pump(&mut outgoing), Progress::Blocked);
    output.credit(2).unwrap();
    assert_eq!(output.pump(&mut outgoing), Progress::Sent);
    assert_eq!(data(&outgoing), b"mo");
}

/// Everything that comes from now on.
fn rest(output: &mut Output) -> Vec<u8> {
    let (mut all, mut outgoing) = (Vec::new(), Vec::new());
    while output.pump(&mut outgoing) == Progress::Sent {
        let data = data(&outgoing);
        output.credit(u32::try_from(data.len()).unwrap()).unwrap();
        all.extend(data);
        outgoing.clear();
    }
    all
}

#[test]
fn after_the_exit_what_was_written_comes_and_a_stranger_does_not_hold_it_up() {
    let (mut output, mut stranger) = output();
    stranger.write_all(b"last words").unwrap();
    output.process_ended(false);
    // The stranger keeps the pipe open, and even goes on writing.
    stranger.write_all(b"of another").unwrap();
    assert_eq!(rest(&mut output), b"last words");
    assert!(!output.is_open());
}

#[test]
fn a_stranger_who_floods_is_cut_off() {
    let (mut output, mut stranger) = output();
    output.process_ended(false);
    let mut outgoing = Vec::new();
    for _ in 0..1000 {
        let _ = stranger.write(&[1; 4096]);
        if output.pump(&mut outgoing) == Progress::Ended {
            return;
        }
    }
    panic!("the exit was never reported");
}

#[test]
fn a_pipe_that_was_made_larger_loses_nothing_at_the_exit() {
    for alone in [true, false] {
        let (mut output, mut process) = output();
        let size = rustix::pipe::fcntl_setpipe_size(&process, 1 << 20).unwrap();
        process.write_all(&vec![7; size]).unwrap();
        output.process_ended(alone);
        assert_eq!(rest(&mut output).len(), size, "alone: {alone}");
        assert!(!output.is_open());
    }
}
