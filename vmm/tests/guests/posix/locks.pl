put 'f', 'x' x 100;
my $locked = opened 'f', $RDWR;
my ($SETLK, $SETLKW, $GETLK, $OFD_SETLK, $READ, $WRITE, $UN) = (6, 7, 5, 37, 0, 1, 2);
my $lock = sub {
    my ($file, $type, $from, $count, $command) = @_;
    fcntl $file, $command // $SETLK, pack 's2 x4 q2 l x4', $type, 0, $from, $count, 0;
};
# Whose lock is in the way, and of which type.
my $who = sub {
    my ($file, $type, $from, $count) = @_;
    my $lock = pack 's2 x4 q2 l x4', $type, 0, $from, $count, 0;
    fcntl $file, $GETLK, $lock;
    join ' ', (unpack 's x6 q2 l', $lock)[0, 3];
};
ok 'a part', $lock->($locked, $WRITE, 10, 10);
my $me = $$;
pipe my $go, my $tell;
pipe my $hear, my $say;
my $child = fork;
if (!$child) {
    $tried = 0;
    my $mine = opened 'f', $RDWR;
    fails 'the same part', 'EAGAIN', $lock->($mine, $WRITE, 15, 10);
    fails 'to read it', 'EAGAIN', $lock->($mine, $READ, 19, 1);
    ok 'another part', $lock->($mine, $WRITE, 20, 10);
    is 'who has it', $who->($mine, $WRITE, 0, 100), "1 $me";
    syswrite $say, 'w';
    ok 'waiting for it', $lock->($mine, $WRITE, 0, 20, $SETLKW);
    syswrite $say, pack 'L', $tried;
    sysread $go, my $x, 1;
    leave 0;
}
sysread $hear, my $x, 1;
is 'the other has', $who->($locked, $WRITE, 20, 1), "1 $child";
ok 'given up', $lock->($locked, $UN, 0, 0);
sysread $hear, my $count, 4;
$tried += unpack 'L', $count;
fails 'taken meanwhile', 'EAGAIN', $lock->($locked, $READ, 0, 1);
syswrite $tell, 'e';
waitpid $child, 0;
ok 'is free with its process', $lock->($locked, $WRITE, 0, 0);
close opened 'f', $RDONLY;
my $other = opened 'f', $RDWR;
my $pid = fork;
leave $lock->($other, $WRITE, 0, 0) ? 0 : 1 unless $pid;
waitpid $pid, 0;
ok 'closing any descriptor frees it', $? == 0;
my ($SH, $EX, $NB) = (1, 2, 4);
ok 'flock', flock $locked, $EX | $NB;
fails 'of another description', 'EAGAIN', flock $other, $EX | $NB;
fails 'shared', 'EAGAIN', flock $other, $SH | $NB;
ok 'downgraded', flock $locked, $SH | $NB;
ok 'shared', flock $other, $SH | $NB;
close $locked;
ok 'alone', flock $other, $EX | $NB;
my $second = opened 'f', $RDWR;
ok 'of a description', $lock->($other, $WRITE, 0, 0, $OFD_SETLK);
fails 'against another of the same process', 'EAGAIN', $lock->($second, $WRITE, 0, 0, $OFD_SETLK);
