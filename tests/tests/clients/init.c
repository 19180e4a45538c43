/*
 * The guest of the test with a Firecracker client library: the first process of a disk with nothing else on it. It answers
 * lines, one to a connection, on vsock port 5000 and on TCP port 5000.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PORT = 5000 };

static void must(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static void set_address(const char *address)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq request = { .ifr_name = "eth0" };
    struct sockaddr_in *in = (struct sockaddr_in *)&request.ifr_addr;
    in->sin_family = AF_INET;
    must(inet_pton(AF_INET, address, &in->sin_addr) == 1, "address");
    must(ioctl(fd, SIOCSIFADDR, &request) == 0, "SIOCSIFADDR");
    inet_pton(AF_INET, "255.255.255.0", &in->sin_addr);
    must(ioctl(fd, SIOCSIFNETMASK, &request) == 0, "SIOCSIFNETMASK");
    must(ioctl(fd, SIOCGIFFLAGS, &request) == 0, "SIOCGIFFLAGS");
    request.ifr_flags |= IFF_UP;
    must(ioctl(fd, SIOCSIFFLAGS, &request) == 0, "SIOCSIFFLAGS");
    close(fd);
}

static int listen_at(const struct sockaddr *address, socklen_t length)
{
    int fd = socket(address->sa_family, SOCK_STREAM, 0);
    must(bind(fd, address, length) == 0 && listen(fd, 8) == 0, "listen");
    return fd;
}

/* The bytes of a disk, or 0. */
static unsigned long long size_of(const char *disk)
{
    unsigned long long size = 0;
    int fd = open(disk, O_RDONLY);
    if (fd >= 0)
        ioctl(fd, BLKGETSIZE64, &size);
    close(fd);
    return size;
}

/* "size DISK" is answered by its bytes, "off" by an end, and anything else by itself. */
static void answer(FILE *peer)
{
    char line[256];
    if (!fgets(line, sizeof(line), peer))
        return;
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, "size ", 5) == 0)
        fprintf(peer, "%llu\n", size_of(line + 5));
    else
        fprintf(peer, "guest heard %s\n", line);
    fflush(peer);
    if (strcmp(line, "off") == 0)
        reboot(RB_POWER_OFF);
}

int main(void)
{
    struct sockaddr_vm vm = { .svm_family = AF_VSOCK, .svm_port = PORT, .svm_cid = VMADDR_CID_ANY };
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(PORT) };
    struct pollfd listeners[2] = { { .events = POLLIN }, { .events = POLLIN } };

    /* The kernel found no console on the disk, which has no devices. */
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    must(freopen("/dev/console", "w", stdout) != NULL, "/dev/console");
    set_address("172.16.0.2");
    listeners[0].fd = listen_at((struct sockaddr *)&vm, sizeof(vm));
    listeners[1].fd = listen_at((struct sockaddr *)&in, sizeof(in));
    printf("the guest listens\n");
    fflush(stdout);
    while (poll(listeners, 2, -1) > 0) {
        for (int i = 0; i < 2; i++) {
            if (listeners[i].revents == 0)
                continue;
            FILE *peer = fdopen(accept(listeners[i].fd, NULL, NULL), "r+");
            if (!peer)
                continue;
            answer(peer);
            fclose(peer);
        }
    }
    return 1;
}
