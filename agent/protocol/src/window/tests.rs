use proptest::prelude::*;

use super::*;

#[test]
fn credit_beyond_the_window_is_refused() {
    let mut window = SendWindow::new(100);
    assert!(window.credit(1).is_err());
    window.sent(60);
    assert_eq!(window.available(), 40);
    assert!(window.credit(61).is_err());
    window.credit(60).unwrap();
    assert_eq!(window.available(), 100);
}

#[test]
fn data_beyond_the_window_is_refused() {
    let mut window = ReceiveWindow::new(100);
    window.received(100).unwrap();
    assert!(window.received(1).is_err());
    assert_eq!(window.consumed(49), None);
    assert_eq!(window.consumed(1), Some(50));
    assert!(window.received(51).is_err());
}

proptest! {
    /// Two honest ends never see an overrun and never block for good, whatever the sizes.
    #[test]
    fn honest_ends_agree(limit in 2_u32..5000, steps in proptest::collection::vec((1_usize..3000, 1_usize..3000), 1..200)) {
        let mut sender = SendWindow::new(limit);
        let mut receiver = ReceiveWindow::new(limit);
        let mut held = 0;
        for (send, take) in steps {
            let send = send.min(sender.available());
            sender.sent(send);
            receiver.received(send).unwrap();
            held += send;
            let take = take.min(held);
            held -= take;
            if let Some(credit) = receiver.consumed(take) {
                sender.credit(credit).unwrap();
            }
            prop_assert!(held <= limit as usize);
        }
        if let Some(credit) = receiver.consumed(held) {
            sender.credit(credit).unwrap();
        }
        prop_assert!(sender.available() > 0, "everything was taken, and nothing may be sent");
    }
}
