use tokio::io::AsyncReadExt;

use super::*;

/// A container's mount of a path.
fn bound(path: &Path) -> Mount {
    Mount {
        source: MountSource::Bind {
            path: path.to_owned(),
            create: false,
        },
        ..Mount::unnamed("/run/service".to_owned())
    }
}

async fn say(stream: &mut UnixStream, what: &str) {
    stream.write_all(what.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}

async fn heard(stream: &mut UnixStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn what_a_guest_says_arrives_and_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (service, arrival) = (dir.path().join("service"), dir.path().join("v_2003"));
    let listener = UnixListener::bind(&service).unwrap();
    let socket = Socket::find(3, &bound(&service)).unwrap();
    let relays = listen(dir.path(), &[socket]).unwrap();
    let mut guest = UnixStream::connect(&arrival).await.unwrap();
    say(&mut guest, "question").await;
    let (mut asked, _) = listener.accept().await.unwrap();
    assert_eq!(heard(&mut asked).await, "question");
    say(&mut asked, "answer").await;
    assert_eq!(heard(&mut guest).await, "answer");

    // What is under way ends with the container.
    let mut guest = UnixStream::connect(&arrival).await.unwrap();
    let (mut asked, _) = listener.accept().await.unwrap();
    drop(relays);
    assert_eq!(heard(&mut asked).await, "");
    assert_eq!(heard(&mut guest).await, "");
    assert!(!arrival.exists());
}

#[tokio::test]
async fn a_guest_is_told_that_nobody_is_there_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let (service, arrival) = (dir.path().join("service"), dir.path().join("v_2000"));
    drop(UnixListener::bind(&service).unwrap());
    let socket = Socket::find(0, &bound(&service)).unwrap();
    let _relays = listen(dir.path(), &[socket]).unwrap();
    let mut guest = UnixStream::connect(&arrival).await.unwrap();
    assert_eq!(heard(&mut guest).await, "");
}

#[tokio::test]
async fn only_sockets_are_found_and_none_that_nobody_could_connect_to() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Socket::find(0, &bound(dir.path())).is_none());
    assert!(Socket::find(0, &bound(&dir.path().join("missing"))).is_none());
    let service = dir.path().join("service");
    let _listener = UnixListener::bind(&service).unwrap();
    // A longer way to the same one.
    let long = dir.path().join("./".repeat(60)).join("service");
    let socket = Socket::find(0, &bound(&long)).unwrap();
    let error = listen(dir.path(), &[socket]).unwrap_err();
    assert!(error.to_string().contains("connect to"), "{error}");
}
