/* Copyright (c) the amp_stream authors.  See LICENSE for details.

   A link with a distance: router SERVER-NAMESPACE CLIENT-NAMESPACE

   The router makes a TUN device "far" in each of the two network namespaces and carries
   packets between them.  Each direction is what a path on the Internet is to TCP: a
   queue of so many bytes that drops what does not fit, a line of a rate, and a wire of
   a length.  "up" is from the client to the server.

   The router prints {"ready": true}, reads orders from standard input, one a line, and
   ends with its standard input:

       rate BITS/S [up|down]      delay SECONDS [up|down]     one way
       queue BYTES [up|down]      jitter SECONDS [up|down]    up to so much more, at
                                                              random, in order
       reset                      count anew
       stats                      print what was counted, as one line of JSON

   Packets count as IP has them: 1,500 bytes carry 1,448 of TCP's payload. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
    RING = 1 << 16,  /* packets that one direction can hold; a power of two */
    LARGEST = 4096,  /* bytes of a packet */
    BATCH = 64,      /* packets that are read before the other direction's turn */
    LINE = 4096,     /* bytes of orders */
};

/* Nanoseconds of CLOCK_MONOTONIC. */
typedef int64_t instant;

struct packet {
    instant due; /* When it has left the line or, once it is on the wire, arrives. */
    int size;
    char *bytes;
};

/* One direction.  Packets first..served are on the wire, those of served..end wait; the
   packet at "served" is on the line.  The numbers only grow. */
struct way {
    const char *name;
    int to; /* the device where it ends */
    double rate;
    instant delay, jitter;
    long limit;
    struct packet ring[RING];
    uint32_t first, served, end;
    instant latest; /* when the packet that was put on the wire last arrives */
    long waiting;   /* bytes in the queue, with the packet on the line */
    long bytes, packets, drops, greatest;
};

static struct way ways[2];

static instant now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static void fail(const char *what) {
    printf("{\"failed\": \"%s: %s\"}\n", what, strerror(errno));
    exit(1);
}

static struct packet *at(struct way *way, uint32_t number) {
    return &way->ring[number % RING];
}

static instant onTheLine(const struct way *way, int size) {
    return (instant)(size * 8e9 / way->rate);
}

static instant someJitter(const struct way *way) {
    return way->jitter ? (instant)(drand48() * (double)way->jitter) : 0;
}

/* Do everything that was to happen until an instant, in its order and with the time at
   which it was to happen, so that a late wake-up costs no rate. */
static void advance(struct way *way, instant until) {
    while (way->served != way->end && at(way, way->served)->due <= until) {
        struct packet *packet = at(way, way->served++);
        instant left = packet->due;
        way->waiting -= packet->size;
        way->bytes += packet->size;
        way->packets++;
        packet->due = left + way->delay + someJitter(way);
        if (packet->due < way->latest)
            packet->due = way->latest;
        way->latest = packet->due;
        if (way->served != way->end) {
            struct packet *next = at(way, way->served);
            next->due = left + onTheLine(way, next->size);
        }
    }
    while (way->first != way->served && at(way, way->first)->due <= until) {
        struct packet *packet = at(way, way->first++);
        if (write(way->to, packet->bytes, packet->size) < 0 && errno != EAGAIN &&
            errno != EIO)
            fail("write");
        free(packet->bytes);
    }
}

/* A packet has come. */
static void take(struct way *way, const char *bytes, int size, instant when) {
    advance(way, when);
    if (way->waiting + size > way->limit || way->end - way->first == RING) {
        way->drops++;
        return;
    }
    struct packet *packet = at(way, way->end++);
    packet->size = size;
    packet->bytes = malloc(size);
    if (!packet->bytes)
        fail("malloc");
    memcpy(packet->bytes, bytes, size);
    if (way->end - way->served == 1)
        packet->due = when + onTheLine(way, size);
    way->waiting += size;
    if (way->waiting > way->greatest)
        way->greatest = way->waiting;
}

/* When to look at a direction again.  The line needs no wake-up of its own: what leaves
   it is accounted for when the first packet arrives. */
static instant nextArrival(struct way *way) {
    if (way->first != way->served)
        return at(way, way->first)->due;
    if (way->served != way->end)
        return at(way, way->served)->due + way->delay;
    return INT64_MAX;
}

static int device(const char *space) {
    char path[256];
    snprintf(path, sizeof path, "/var/run/netns/%s", space);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || setns(file, CLONE_NEWNET))
        fail(path);
    close(file);
    int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI, .ifr_name = "far"};
    if (tun < 0 || ioctl(tun, TUNSETIFF, &request))
        fail("TUN");
    return tun;
}

static void stats(void) {
    const char *comma = "{";
    for (int i = 0; i < 2; i++) {
        struct way *way = &ways[i];
        advance(way, now());
        printf("%s\"%s\": {\"bytes\": %ld, \"packets\": %ld, \"drops\": %ld, "
               "\"queue\": %ld, \"greatest\": %ld}",
               comma, way->name, way->bytes, way->packets, way->drops, way->waiting,
               way->greatest);
        comma = ", ";
    }
    puts("}");
    fflush(stdout);
}

static void set(struct way *way, const char *key, double value) {
    advance(way, now());
    if (!strcmp(key, "rate")) {
        /* What is left of the packet on the line goes at the new rate. */
        if (way->served != way->end) {
            struct packet *packet = at(way, way->served);
            instant when = now();
            packet->due = when + (instant)((packet->due - when) * way->rate / value);
        }
        way->rate = value;
    } else if (!strcmp(key, "delay"))
        way->delay = (instant)(value * 1e9);
    else if (!strcmp(key, "jitter"))
        way->jitter = (instant)(value * 1e9);
    else if (!strcmp(key, "queue"))
        way->limit = (long)value;
    else if (!strcmp(key, "reset")) {
        way->bytes = way->packets = way->drops = 0;
        way->greatest = way->waiting;
    } else {
        errno = EINVAL;
        fail(key);
    }
}

static void obey(const char *line) {
    char key[16] = "", name[8] = "";
    double value = 0;
    if (sscanf(line, "%15s %lf %7s", key, &value, name) < 1)
        return;
    if (!strcmp(key, "stats")) {
        stats();
        return;
    }
    for (int i = 0; i < 2; i++)
        if (!*name || !strcmp(name, ways[i].name))
            set(&ways[i], key, value);
}

/* Read orders; whether there may be more. */
static int orders(void) {
    static char text[LINE];
    static size_t length;
    ssize_t some = read(0, text + length, sizeof text - 1 - length);
    if (some <= 0)
        return 0;
    length += some;
    text[length] = 0;
    char *line = text, *end;
    while ((end = strchr(line, '\n'))) {
        *end = 0;
        obey(line);
        line = end + 1;
    }
    length -= line - text;
    memmove(text, line, length);
    return 1;
}

int main(int count, char **words) {
    if (count != 3) {
        errno = EINVAL;
        fail("router SERVER-NAMESPACE CLIENT-NAMESPACE");
    }
    /* Busy programs beside it must not make the link late. */
    struct sched_param first = {.sched_priority = 1};
    sched_setscheduler(0, SCHED_FIFO, &first);
    prctl(PR_SET_TIMERSLACK, 1);
    int server = device(words[1]), client = device(words[2]);
    int tuns[2] = {server, client};
    for (int i = 0; i < 2; i++) {
        ways[i].name = i ? "up" : "down";
        ways[i].to = tuns[1 - i];
        ways[i].rate = 1e9;
        ways[i].limit = 1000000;
    }
    puts("{\"ready\": true}");
    fflush(stdout);
    struct pollfd ends[3] = {{server, POLLIN, 0}, {client, POLLIN, 0}, {0, POLLIN, 0}};
    for (;;) {
        instant time = now(), next = INT64_MAX;
        for (int i = 0; i < 2; i++) {
            advance(&ways[i], time);
            instant due = nextArrival(&ways[i]);
            if (due < next)
                next = due;
        }
        instant left = next - now();
        if (left < 0)
            left = 0;
        struct timespec wait = {left / 1000000000, left % 1000000000};
        int ready = ppoll(ends, 3, next == INT64_MAX ? NULL : &wait, NULL);
        if (ready < 0 && errno != EINTR)
            fail("ppoll");
        if (ready <= 0)
            continue;
        for (int i = 0; i < 2; i++)
            if (ends[i].revents)
                for (int number = 0; number < BATCH; number++) {
                    char bytes[LARGEST];
                    ssize_t size = read(ends[i].fd, bytes, sizeof bytes);
                    if (size <= 0)
                        break;
                    take(&ways[i], bytes, size, now());
                }
        if (ends[2].revents && !orders())
            return 0;
    }
}
