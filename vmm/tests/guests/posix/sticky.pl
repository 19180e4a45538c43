mkdir 't';
chmod 01777, 't';
as 1000, sub {
    put 't/f', 'x';
    mkdir 't/d';
};
as 1001, sub {
    fails 'removing', 'EPERM', unlink 't/f';
    fails 'moving', 'EPERM', rename 't/f', 't/g';
    put 't/mine', '';
    fails 'moving over', 'EPERM', rename 't/mine', 't/f';
    fails 'rmdir', 'EPERM', rmdir 't/d';
};
as 1000, sub {
    ok 'moving what is mine', rename 't/f', 't/g';
    ok 'removing it', unlink 't/g';
    ok 'rmdir', rmdir 't/d';
};
chown 1001, 1001, 't';
as 1000, sub { put 't/f', '' };
as 1001, sub { ok 'the directory is mine', unlink 't/f' };
