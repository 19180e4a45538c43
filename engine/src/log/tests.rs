use std::fs;

use tempfile::TempDir;

use super::*;
use crate::container::LogConfig;

fn writer(dir: &TempDir, max_size: Option<u64>, max_files: u32) -> (PathBuf, LogWriter) {
    let path = dir.path().join("log");
    let config = LogConfig {
        max_size,
        max_files,
        ..LogConfig::default()
    };
    let writer = LogWriter::open(&path, &config).unwrap();
    (path, writer)
}

const ALL: LogsWanted = LogsWanted {
    stdout: true,
    stderr: true,
    since: None,
    until: None,
    tail: None,
    follow: false,
};

async fn texts(path: &Path, wanted: LogsWanted) -> Vec<String> {
    let mut logs = read(path.to_owned(), wanted, async {});
    let mut texts = Vec::new();
    while let Some(entry) = logs.next().await {
        texts.push(String::from_utf8(entry.unwrap().data).unwrap());
    }
    texts
}

#[tokio::test]
async fn lines_are_kept_whole_whatever_pieces_they_came_in() {
    let dir = TempDir::new().unwrap();
    let (path, mut writer) = writer(&dir, None, 1);
    writer.write(OutputStream::Stdout, b"one\ntw");
    writer.write(OutputStream::Stderr, b"beside\n");
    writer.write(OutputStream::Stdout, b"o\nthe end");
    let long = vec![b'x'; LONGEST_LINE + 10];
    writer.write(OutputStream::Stderr, &long);
    writer.finish();
    let pieces = ["x".repeat(LONGEST_LINE), "x".repeat(10)];
    let expected = [
        "one\n", "beside\n", "two\n", &pieces[0], "the end", &pieces[1],
    ];
    assert_eq!(texts(&path, ALL).await, expected);
    let errors = LogsWanted {
        stdout: false,
        ..ALL
    };
    assert_eq!(texts(&path, errors).await.len(), 3);
    // As Docker's driver writes it.
    let first: serde_json::Value =
        serde_json::from_str(fs::read_to_string(&path).unwrap().lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["log"], &first["stream"]),
        (&"one\n".into(), &"stdout".into())
    );
    assert!(first["time"].as_str().unwrap().ends_with('Z'), "{first}");
}

#[tokio::test]
async fn a_full_file_is_followed_by_another_and_the_oldest_goes() {
    let dir = TempDir::new().unwrap();
    let (path, mut writer) = writer(&dir, Some(300), 3);
    for number in 0..20 {
        writer.write(OutputStream::Stdout, format!("line {number}\n").as_bytes());
    }
    writer.finish();
    assert!(rotated(&path, 2).exists() && !rotated(&path, 3).exists());
    let kept = texts(&path, ALL).await;
    let expected: Vec<String> = (20 - kept.len()..20)
        .map(|n| format!("line {n}\n"))
        .collect();
    assert!((3..20).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept, expected);
    for tail in [0, 1, 5, 1000] {
        let last = texts(
            &path,
            LogsWanted {
                tail: Some(tail),
                ..ALL
            },
        )
        .await;
        let count = kept.len().min(usize::try_from(tail).unwrap());
        assert_eq!(last, expected[expected.len() - count..]);
    }
}

#[tokio::test]
async fn times_bound_what_is_read() {
    let dir = TempDir::new().unwrap();
    let (path, mut writer) = writer(&dir, None, 1);
    writer.write(OutputStream::Stdout, b"before\n");
    let moment = Timestamp::now();
    writer.write(OutputStream::Stdout, b"after\n");
    writer.finish();
    let since = LogsWanted {
        since: Some(moment),
        ..ALL
    };
    assert_eq!(texts(&path, since).await, ["after\n"]);
    let until = LogsWanted {
        until: Some(moment),
        ..ALL
    };
    assert_eq!(texts(&path, until).await, ["before\n"]);
}

#[tokio::test]
async fn whoever_follows_sees_each_line_once_and_the_end() {
    let dir = TempDir::new().unwrap();
    let (path, mut writer) = writer(&dir, Some(200), 10);
    writer.write(OutputStream::Stdout, b"0\n");
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let follow = LogsWanted {
        follow: true,
        ..ALL
    };
    let mut logs = read(path.clone(), follow, async {
        let _ = ended.await;
    });
    let mut next = 0;
    let mut expect = async |count: u32| {
        for _ in 0..count {
            let entry = logs.next().await.unwrap().unwrap();
            assert_eq!(entry.data, format!("{next}\n").into_bytes());
            next += 1;
        }
    };
    expect(1).await;
    for number in 1..30 {
        writer.write(OutputStream::Stdout, format!("{number}\n").as_bytes());
        expect(1).await;
    }
    writer.write(OutputStream::Stdout, b"30");
    writer.finish();
    end.send(()).unwrap();
    assert_eq!(logs.next().await.unwrap().unwrap().data, b"30");
    assert!(logs.next().await.is_none());
}

#[tokio::test]
async fn a_line_that_was_cut_off_is_left_out() {
    let dir = TempDir::new().unwrap();
    let (path, mut writer) = writer(&dir, None, 1);
    writer.write(OutputStream::Stdout, b"whole\n");
    writer.finish();
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"log\":\"no\n{\"log\":\"last\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00Z\"}\n{\"lo");
    fs::write(&path, text).unwrap();
    assert_eq!(texts(&path, ALL).await, ["whole\n", "last\n"]);
}

#[tokio::test]
async fn others_get_on_while_lines_are_skipped_and_who_is_gone_is_not_read_for() {
    let dir = TempDir::new().unwrap();
    let (path, mut writer) = writer(&dir, None, 1);
    for _ in 0..20_000 {
        writer.write(OutputStream::Stdout, b"old\n");
    }
    writer.finish();
    let late = LogsWanted {
        since: Some(Timestamp::MAX),
        ..ALL
    };
    let (is_read, mut over) = tokio::sync::oneshot::channel::<()>();
    let reading = async move { drop(is_read) };
    let mut logs = read(path, late, reading);
    let mut turns = 0;
    let all = async {
        while over.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
            turns += 1;
            tokio::task::yield_now().await;
        }
    };
    all.await;
    assert!(turns > 50, "{turns}");
    assert!(logs.next().await.is_none());
}
