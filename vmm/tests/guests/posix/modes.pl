put 'f', 'x';
chown 1000, 1000, 'f';
chmod 06755, 'f';
is 'set', mode('f'), 6755;
chmod 06777, 'f';
as 1001, sub {
    open my $f, '>>', 'f';
    syswrite $f, 'y';
};
is 'after a write by another', mode('f'), 777;
chmod 06777, 'f';
as 1001, sub { truncate 'f', 1 };
is 'after its size changed', mode('f'), 777;
chmod 06777, 'f';
chown 1000, 1000, 'f';
is 'after its owner changed', mode('f'), 777;
chmod 02745, 'f';
chown 1000, 1000, 'f';
is 'a lock is no set-group-ID', mode('f'), 2745;
as 1000, sub {
    chmod 02755, 'f';
    is 'in its own group', mode('f'), 2755;
};
chown 1000, 5, 'f';
as 1000, sub {
    chmod 02755, 'f';
    is 'not in its group', mode('f'), 755;
    fails 'given away', 'EPERM', chown 1001, -1, 'f';
    fails 'into a group', 'EPERM', chown -1, 7, 'f';
    ok 'into its own group', chown -1, 1000, 'f';
};
as 1001, sub {
    fails 'chmod of another', 'EPERM', chmod 0777, 'f';
    fails 'chown of another', 'EPERM', chown 1001, 1001, 'f';
};
mkdir 'd';
chown 0, 7, 'd';
chmod 02775, 'd';
mkdir 'd/e';
put 'd/f', '';
is 'group of a directory', (stat 'd/e')[5], 7;
is 'handed down', mode('d/e'), 2755;
is 'group of a file', (stat 'd/f')[5], 7;
umask 077;
put 'private', '';
mkdir 'privately';
is 'umask', mode('private') . mode('privately'), '600700';
umask 022;
put 'secret', 'x';
chmod 0600, 'secret';
mkdir 'closed';
put 'closed/f', 'x';
chmod 0600, 'closed';
chmod 0777, '.';
as 1000, sub {
    fails 'reading', 'EACCES', opened 'secret', $RDONLY;
    fails 'writing', 'EACCES', opened 'secret', $WRONLY;
    fails 'search', 'EACCES', stat 'closed/f';
    ok 'making', put 'mine', '';
    is 'owner', join(' ', (stat 'mine')[4, 5]), '1000 1000';
};
chmod 0755, '.';
as 1000, sub {
    fails 'making', 'EACCES', opened 'theirs', $WRONLY | $CREAT;
    fails 'removing', 'EACCES', unlink 'secret';
    fails 'a directory', 'EACCES', mkdir 'x';
    fails 'a link', 'EACCES', link 'mine', 'x';
    fails 'moving', 'EACCES', rename 'mine', 'x';
};
