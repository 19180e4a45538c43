//! Sessions over pipes in memory.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::task::JoinHandle;

use super::*;

/// The two ends that a session lies between, and the session.
struct Between {
    client: DuplexStream,
    program: DuplexStream,
    session: JoinHandle<()>,
}

fn between(input_ends: bool, keys: Option<DetachKeys>) -> Between {
    let (client, near) = duplex(64);
    let (program, far) = duplex(64);
    let (output, input) = split(far);
    let session = Session {
        output: Box::pin(output),
        input: Some(Box::pin(input)),
        input_ends,
        tty: keys.is_some(),
        keys,
        detach: None,
    };
    let session = tokio::spawn(session.run(near));
    Between {
        client,
        program,
        session,
    }
}

async fn rest(stream: &mut DuplexStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn output_goes_on_after_the_end_of_the_input() {
    let mut between = between(true, None);
    between.client.write_all(b"question").await.unwrap();
    between.client.shutdown().await.unwrap();
    assert_eq!(rest(&mut between.program).await, "question");
    between.program.write_all(b"answer").await.unwrap();
    drop(between.program);
    assert_eq!(rest(&mut between.client).await, "answer");
    between.session.await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_takes_no_input_along() {
    let mut between = between(false, None);
    between.client.write_all(b"hi").await.unwrap();
    between.client.shutdown().await.unwrap();
    assert_eq!(rest(&mut between.client).await, "");
    between.session.await.unwrap();
}

#[tokio::test]
async fn keys_detach_and_are_not_the_program_s() {
    let mut between = between(false, Some(DetachKeys::parse("ctrl-x,y").unwrap()));
    between.client.write_all(b"ls\x18y").await.unwrap();
    assert_eq!(rest(&mut between.client).await, "");
    between.session.await.unwrap();
    assert_eq!(rest(&mut between.program).await, "ls");
}

#[tokio::test]
async fn output_is_not_held_up_by_a_client_that_says_nothing() {
    let mut between = between(true, None);
    between.program.write_all(b"hello").await.unwrap();
    let mut bytes = [0; 5];
    between.client.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
    drop(between.program);
    assert_eq!(rest(&mut between.client).await, "");
    between.session.await.unwrap();
}
