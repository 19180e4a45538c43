//! Standard input to the container, its output to standard output and error.

use std::io::{self, Write};
use std::time::Instant;

use hull_engine::{InputWriter, OutputReader, OutputStream};
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;

/// Bytes of input that are read at once.
const PIECE: usize = 32 * 1024;

/// Passes standard input on until it ends or nobody wants it.
pub(crate) async fn pass_input(input: InputWriter) {
    let mut stdin = tokio::io::stdin();
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        match stdin.read_buf(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if !input.write(piece).await {
                    return;
                }
            }
        }
    }
}

/// Passes output on until the container closes it. Says when the first byte went out.
pub(crate) async fn pass_output(mut output: OutputReader, first: oneshot::Sender<Instant>) {
    let mut first = Some(first);
    while let Some(piece) = output.next().await {
        let stream = piece.stream;
        let written = tokio::task::spawn_blocking(move || write(stream, &piece.data)).await;
        if let Some(first) = first.take() {
            let _ = first.send(Instant::now());
        }
        if !matches!(written, Ok(Ok(()))) {
            // Whoever read this is gone: the program's next write fails, as it would in a pipe.
            output.close(stream);
        }
    }
}

fn write(stream: OutputStream, data: &[u8]) -> io::Result<()> {
    match stream {
        OutputStream::Stdout => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(data)?;
            stdout.flush()
        }
        OutputStream::Stderr => io::stderr().lock().write_all(data),
    }
}
