# Thousands of connections between this guest and its host: half of them made here, half there, all open at once.
use strict;
use warnings;

my ($count, $stalled_bytes) = @ARGV;
my ($VSOCK, $STREAM, $HOST, $ANY) = (40, 1, 2, 0xffffffff);
my ($F_SETFL, $NONBLOCK, $EAGAIN) = (4, 04000, 11);

sub address {
    my ($port, $cid) = @_;
    pack 'S x2 L L x4', $VSOCK, $port, $cid;
}

# A line, and nothing of what is behind it.
sub line {
    my ($from) = @_;
    my $line = '';
    while ($line !~ /\n$/) {
        sysread $from, $line, 1, length $line or die "it ended after '$line': $!";
    }
    $line;
}

sub send_all {
    my ($to, $text) = @_;
    while (length $text) {
        my $sent = syswrite($to, $text) // die "cannot send: $!";
        substr $text, 0, $sent, '';
    }
}

# Those made here say something and want it back; those made there do the opposite.
sub round {
    my ($round, $mine, $theirs) = @_;
    send_all $mine->[$_], "$round $_\n" for 0 .. $#$mine;
    for (0 .. $#$mine) {
        my $back = line $mine->[$_];
        die "connection $_ got $back" unless $back eq "$round $_\n";
    }
    send_all $_, line $_ for @$theirs;
}

$| = 1;
socket my $listener, $VSOCK, $STREAM, 0 or die "no socket: $!";
bind $listener, address(6000, $ANY) or die "cannot bind: $!";
listen $listener, $count;
print "listening\n";
my (@mine, @theirs);
for (1 .. $count) {
    socket my $new, $VSOCK, $STREAM, 0 or die "no socket: $!";
    connect $new, address(5000, $HOST) or die "cannot connect: $!";
    push @mine, $new;
}
print "connected\n";
for (1 .. $count) {
    accept my $new, $listener or die "cannot accept: $!";
    push @theirs, $new;
}
print "accepted\n";
round 'all', \@mine, \@theirs;

# The first of either kind has a reader that does not read.
my ($full, $unread) = (shift @mine, shift @theirs);
fcntl $full, $F_SETFL, $NONBLOCK;
my ($sent, $chunk) = (0, 'x' x 4096);
while (my $more = syswrite $full, $chunk) {
    $sent += $more;
}
die "cannot send: $!" unless $! == $EAGAIN;
print "stalled after $sent\n";
round 'others', \@mine, \@theirs;
print "others went on\n";
my $taken = 0;
while ($taken < $stalled_bytes) {
    $taken += sysread $unread, my $data, 65536 or die "it ended after $taken: $!";
}
print "took $taken\n";
