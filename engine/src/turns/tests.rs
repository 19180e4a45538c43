use std::future::{Future, poll_fn};
use std::io::{BufRead, BufReader, Write};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::task::Poll;

use tempfile::TempDir;

use super::*;

/// Lets a future do what it can now, which is not all.
async fn begin<T>(future: &mut Pin<Box<impl Future<Output = T>>>) {
    let pending = poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending()));
    assert!(pending.await, "it did not wait");
}

fn turns(at_once: usize) -> (TempDir, Turns) {
    let dir = TempDir::new().unwrap();
    let turns = Turns::of(dir.path().join("run/turns"), at_once);
    (dir, turns)
}

#[tokio::test]
async fn no_more_start_than_may_and_who_came_first_is_first() {
    let (_dir, turns) = turns(2);
    let kill = CancellationToken::new();
    let one = turns.take(&kill).await.unwrap();
    let two = turns.take(&kill).await.unwrap();
    let mut third = Box::pin(turns.take(&kill));
    begin(&mut third).await;
    let mut fourth = Box::pin(turns.take(&kill));
    begin(&mut fourth).await;
    drop(two);
    let three = third.await.unwrap();
    begin(&mut fourth).await;
    drop(one);
    drop(fourth.await.unwrap());
    drop(three);
}

#[tokio::test]
async fn who_does_not_want_it_any_more_takes_no_turn_from_others() {
    let (_dir, turns) = turns(1);
    let (kill, other) = (CancellationToken::new(), CancellationToken::new());
    let held = turns.take(&other).await.unwrap();
    let mut cancelled = Box::pin(turns.take(&kill));
    begin(&mut cancelled).await;
    let mut waits = Box::pin(turns.take(&other));
    begin(&mut waits).await;
    kill.cancel();
    assert!(matches!(cancelled.await, Err(Error::Interrupted)));
    begin(&mut waits).await;
    drop(held);
    // The thread of the one that gave up is before it, and gives back what it gets.
    drop(waits.await.unwrap());
    drop(turns.take(&other).await.unwrap());
}

#[tokio::test]
async fn what_a_killed_process_had_is_free_again() {
    let (_dir, turns) = turns(1);
    let kill = CancellationToken::new();
    drop(turns.take(&kill).await.unwrap());
    let mut other = Command::new("flock")
        .arg("--no-fork")
        .arg(turns.directory.join("0.lock"))
        .arg("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It answers when it has the lock.
    writeln!(other.stdin.as_mut().unwrap(), "has it").unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(other.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "has it\n");

    let mut waits = Box::pin(turns.take(&kill));
    begin(&mut waits).await;
    other.kill().unwrap();
    drop(waits.await.unwrap());
    other.wait().unwrap();
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let turns = Turns::of(dir.path().join("file/turns"), 1);
    let error = turns.take(&CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("file/turns"), "{error}");
}
