/* Copies bytes between guests and the host, in large pieces: each system call is dear to a guest whose kernel is interpreted.
 *
 *   copy listen PORT send|check
 *   copy connect PORT send|check ADDRESS
 *   copy forge SOURCE_MAC SENDER_MAC SENDER TARGET
 *
 * The last asks eth0 by ARP (RFC 826) where TARGET is, as whoever it is told to be. What is sent is the same each time (xorshift); whoever checks compares all of it, and exits with 0 if it is whole. */

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <netpacket/packet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE (8 << 20)

static int forge(char **argv)
{
    unsigned char frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1 };
    struct ether_addr *source = ether_aton(argv[2]);
    if (!source)
        return 2;
    memcpy(frame + 6, source, 6);
    source = ether_aton(argv[3]);
    if (!source)
        return 2;
    memcpy(frame + 22, source, 6);
    inet_pton(AF_INET, argv[4], frame + 28);
    inet_pton(AF_INET, argv[5], frame + 38);
    struct sockaddr_ll to = {
        .sll_family = AF_PACKET, .sll_ifindex = if_nametoindex("eth0"), .sll_halen = 6, .sll_addr = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
    };
    int fd = socket(AF_PACKET, SOCK_RAW, 0);
    if (fd < 0 || sendto(fd, frame, sizeof frame, 0, (void *)&to, sizeof to) != sizeof frame)
        return perror("forge"), 1;
    return 0;
}

static unsigned char content[SIZE], got[SIZE];

int main(int argc, char **argv)
{
    if (argc == 6 && !strcmp(argv[1], "forge"))
        return forge(argv);
    if (argc < 4)
        return 2;
    uint64_t state = 0x9e3779b97f4a7c15;
    for (size_t at = 0; at < SIZE; at += 8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memcpy(content + at, &state, 8);
    }
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[2])) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (!strcmp(argv[1], "listen")) {
        if (bind(fd, (void *)&address, sizeof address) || listen(fd, 1))
            return perror("listen"), 1;
        fd = accept(fd, NULL, NULL);
    } else {
        inet_pton(AF_INET, argv[4], &address.sin_addr);
        if (connect(fd, (void *)&address, sizeof address))
            return 3;
    }
    if (fd < 0)
        return 1;
    size_t done = 0;
    if (!strcmp(argv[3], "send")) {
        while (done < SIZE) {
            ssize_t count = write(fd, content + done, SIZE - done);
            if (count <= 0)
                return perror("write"), 1;
            done += count;
        }
        shutdown(fd, SHUT_WR);
        /* Whoever checks says that all has come. */
        return read(fd, got, 1) == 1 ? 0 : 1;
    }
    while (done < SIZE) {
        ssize_t count = recv(fd, got + done, SIZE - done < 1 << 18 ? SIZE - done : 1 << 18, MSG_WAITALL);
        if (count <= 0)
            return perror("recv"), 1;
        done += count;
    }
    if (memcmp(got, content, SIZE) || write(fd, "!", 1) != 1)
        return puts("what came is not what was sent"), 1;
    return 0;
}
