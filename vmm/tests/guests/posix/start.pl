# What the sections have in common. Each tries the system calls of one kind in a directory of its own, and prints what is not as POSIX or
# Linux say. System calls have their numbers on x86-64; no modules, which take long to load.
use strict;
use warnings;

my ($RDONLY, $WRONLY, $RDWR, $CREAT, $EXCL, $TRUNC, $APPEND) = (0, 1, 2, 0100, 0200, 01000, 02000);
my ($NONBLOCK, $NOFOLLOW, $DIRECTORY, $TMPFILE) = (04000, 0400000, 0200000, 020200000);
my %number = (
    EPERM => 1, ENOENT => 2, ENXIO => 6, EBADF => 9, EAGAIN => 11, EACCES => 13, EEXIST => 17, ENOTDIR => 20, EISDIR => 21, EINVAL => 22,
    ERANGE => 34, ENAMETOOLONG => 36, ENOTEMPTY => 39, ELOOP => 40, ENODATA => 61, EOPNOTSUPP => 95,
);
my %name = reverse %number;
my $top = $ARGV[0];
my $section = '';
my $tried = 0;

# Goes on in a new directory.
sub section {
    ($section) = @_;
    mkdir "$top/$section" and chdir "$top/$section" or die "$section: $!";
    umask 022;
    print "$section\n";
}

sub is {
    my ($what, $found, $wanted) = @_;
    $tried++;
    print "$section: $what: $found and not $wanted\n" unless "$found" eq "$wanted";
}

# It works.
sub ok {
    my ($what, $result) = @_;
    $tried++;
    print "$section: $what: ", $! || 'no', "\n" unless $result;
}

# It fails, and for this reason.
sub fails {
    my ($what, $reason, $result) = @_;
    my $found = $result ? 'it works' : $name{ $! + 0 } // $!;
    $tried++;
    print "$section: $what: $found and not $reason\n" unless $found eq $reason;
}

# A system call; false if it fails. What the kernel writes to is given as a reference.
sub call {
    my ($which, @given) = (@_, (0) x 6);
    my @to = map { ref ? $_ : \$_ } @given;
    my $result = syscall $which, ${ $to[0] }, ${ $to[1] }, ${ $to[2] }, ${ $to[3] }, ${ $to[4] }, ${ $to[5] };
    $result == -1 ? 0 : $result || '0 but true';
}

# Ends this process at once.
sub leave {
    call 231, $_[0];
}

# Runs as a user who has one group, in another process.
sub as {
    my ($user, $body) = @_;
    pipe my $read, my $write;
    my $pid = fork;
    if (!$pid) {
        $tried = 0;
        $) = "$user $user";
        $( = $user;
        $< = $user;
        $> = $user;
        $body->();
        syswrite $write, pack 'L', $tried;
        leave 0;
    }
    close $write;
    my $count = pack 'L', 0;
    sysread $read, $count, 4;
    waitpid $pid, 0;
    $tried += unpack 'L', $count;
    ok "user $user", $? == 0;
}

sub put {
    my ($path, $text) = @_;
    open my $file, '>', $path or return;
    syswrite $file, $text;
    close $file;
}

sub get {
    my ($path) = @_;
    open my $file, '<', $path or return "$!";
    my $all = '';
    1 while sysread $file, $all, 65536, length $all;
    $all;
}

sub opened {
    my ($path, $flags, $mode) = @_;
    sysopen my $file, $path, $flags, $mode // 0644 or return;
    $file;
}

sub mode { sprintf '%o', (lstat $_[0])[2] & 07777 }

sub links { (lstat $_[0])[3] // 'none' }

$| = 1;
