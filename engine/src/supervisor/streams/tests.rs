use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::*;
use crate::owner::wire::Answer;

/// Streams with the owner's end of their connection, and what opens the gate.
fn streams() -> (Streams, UnixStream, oneshot::Sender<()>) {
    let (ours, owner) = UnixStream::pair().unwrap();
    let (read, write) = ours.into_split();
    let answered = Answered {
        answer: Answer::Done,
        read: BufReader::new(read),
        write,
    };
    let (open, opened) = oneshot::channel();
    let gate = async move {
        let _ = opened.await;
    };
    (Streams::new(answered, Box::pin(gate)), owner, open)
}

/// The process ends while the end of its input is on the way: its owner closes a connection on which there is something to read.
#[tokio::test]
async fn the_end_of_output_waits_for_the_gate_also_when_input_was_left_unread() {
    let (streams, mut owner, open) = streams();
    let (mut output, mut input) = streams.into_split();
    input.shutdown().await.unwrap();
    owner.readable().await.unwrap();
    owner.write_all(b"said").await.unwrap();
    drop(owner);
    let mut said = [0; 4];
    output.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"said");
    let mut rest = Vec::new();
    let end = output.read_to_end(&mut rest);
    tokio::pin!(end);
    let early = tokio::time::timeout(Duration::from_millis(50), &mut end).await;
    assert!(
        early.is_err(),
        "the end came before the exit code was known"
    );
    open.send(()).unwrap();
    assert_eq!(end.await.unwrap(), 0);
}
