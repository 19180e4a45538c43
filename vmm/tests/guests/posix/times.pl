put 'f', 'x';
my $set = sub {
    my ($path, @t) = @_;
    my $t = pack 'q4', @t;
    call 280, -100, $path, $t, 0x100;
};
my $times = sub {
    my $s = "\0" x 144;
    call 6, $_[0], \$s;
    my @s = unpack 'q*', $s;
    "$s[9].$s[10] $s[11].$s[12]";
};
ok 'to the nanosecond', $set->('f', 1e9, 123456789, 2e9, 987654321);
is 'are kept', $times->('f'), '1000000000.123456789 2000000000.987654321';
ok 'one omitted', $set->('f', 0, 0x3ffffffe, 3, 4);
is 'stays', $times->('f'), '1000000000.123456789 3.4';
ok 'before 1970', $set->('f', -5, 0, -6, 0);
is 'is kept', $times->('f'), '-5.0 -6.0';
ok 'now', $set->('f', 0, 0x3fffffff, 0, 0x3fffffff);
ok 'is now', abs((stat 'f')[9] - time) < 60;
symlink 'f', 'l';
ok 'of a link', $set->('l', 7, 0, 8, 0);
is 'are its own', $times->('l'), '7.0 8.0';
chmod 0666, 'f';
as 1000, sub {
    fails 'of another', 'EPERM', $set->('f', 1, 0, 1, 0);
    ok 'now, who may write', $set->('f', 0, 0x3fffffff, 0, 0x3fffffff);
};
chmod 0644, 'f';
as 1000, sub { fails 'now, who may not', 'EACCES', $set->('f', 0, 0x3fffffff, 0, 0x3fffffff) };
$set->('.', 5, 0, 5, 0);
put 'new', '';
ok 'a new file changes those of its directory', (stat '.')[9] > 5;
$set->('f', 5, 0, 5, 0);
my $c = (stat 'f')[10];
put 'f', 'changed';
ok 'writing changes them', (stat 'f')[9] > 5;
