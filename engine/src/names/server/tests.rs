use super::*;

/// A question of the guest's number 0x1234.
const QUESTION_BYTES: [u8; 17] = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1];

/// Answers one question by UDP, first under a number that was not asked.
async fn answer_once(socket: UdpSocket) -> Vec<u8> {
    let mut question = vec![0; 512];
    let (length, from) = socket.recv_from(&mut question).await.unwrap();
    question.truncate(length);
    let mut answer = question.clone();
    answer[0] ^= 1;
    answer.push(1);
    socket.send_to(&answer, from).await.unwrap();
    answer[0] ^= 1;
    answer.truncate(length);
    answer.push(7);
    socket.send_to(&answer, from).await.unwrap();
    question
}

#[tokio::test]
async fn others_are_asked_under_another_number_and_only_their_answer_to_it_counts() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap();
    // A port where nobody is: asked first, and refused at once.
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let gone = nobody.local_addr().unwrap();
    drop(nobody);
    let answering = tokio::spawn(answer_once(socket));
    let answer = forwarded(&QUESTION_BYTES, &[gone, server], By::Udp).await;
    let asked = answering.await.unwrap();
    assert_eq!(asked[2..], QUESTION_BYTES[2..]);
    assert_eq!(answer[..17], QUESTION_BYTES);
    assert_eq!(answer[17..], [7]);
}

#[tokio::test]
async fn a_question_by_tcp_is_asked_by_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut message = read(&mut stream).await.unwrap().unwrap();
        message.resize(5000, 9);
        write(&mut stream, &message).await.unwrap();
    });
    let answer = forwarded(&QUESTION_BYTES, &[server], By::Tcp).await;
    answering.await.unwrap();
    assert_eq!(answer.len(), 5000);
    assert_eq!(answer[..17], QUESTION_BYTES);
}

#[tokio::test]
async fn where_nobody_answers_that_is_the_answer() {
    let answer = forwarded(&QUESTION_BYTES, &[], By::Udp).await;
    // The guest's number; an answer, with failure of the server.
    assert_eq!(answer[..4], [0x12, 0x34, 0x81, 0x82]);
}
