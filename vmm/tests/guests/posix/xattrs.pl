put 'f', 'x';
my $buffer = "\0" x 100;
my $set_x = sub {
    my ($p, $n, $v, $flags) = @_;
    call 188, $p, $n, $v, length $v, $flags // 0;
};
my $get_x = sub {
    my ($p, $n, $size) = @_;
    call 191, $p, $n, \$buffer, $size // 100;
};
ok 'set', $set_x->('f', 'user.a', 'value');
is 'has its length', $get_x->('f', 'user.a'), 5;
is 'and value', substr($buffer, 0, 5), 'value';
is 'how long', $get_x->('f', 'user.a', 0), 5;
fails 'too little room', 'ERANGE', $get_x->('f', 'user.a', 3);
fails 'not there', 'ENODATA', $get_x->('f', 'user.b');
fails 'to create', 'EEXIST', $set_x->('f', 'user.a', 'x', 1);
fails 'to replace', 'ENODATA', $set_x->('f', 'user.b', 'x', 2);
ok 'replaced', $set_x->('f', 'user.a', '', 2);
is 'by nothing', 0 + $get_x->('f', 'user.a'), 0;
ok 'another', $set_x->('f', 'user.b', 'x');
my $list = call 194, 'f', \$buffer, 100;
is 'both', join(' ', sort grep /^user/, split /\0/, substr $buffer, 0, $list), 'user.a user.b';
ok 'removed', call 197, 'f', 'user.a';
fails 'twice', 'ENODATA', call 197, 'f', 'user.a';
fails 'without a kind', 'EOPNOTSUPP', $set_x->('f', 'nothing', 'x');
ok 'of a directory', $set_x->('.', 'user.d', 'x');
symlink 'f', 'l';
fails 'of a link', 'EPERM', call 189, 'l', 'user.x', 'x', 1, 0;
chmod 0644, 'f';
as 1000, sub {
    is 'read by others', $get_x->('f', 'user.b'), 1;
    fails 'set by others', 'EACCES', $set_x->('f', 'user.b', 'y');
};
