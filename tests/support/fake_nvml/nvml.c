/* A libnvidia-ml.so.1 without a GPU: the functions that asrd calls through pynvml, answered from a text file.
 *
 * FAKE_NVML names the file. It is read again at every call, so a test can change it while somebody asks. Its lines:
 *
 *   gpu UUID FREE USED REASONS           the next GPU: bytes, bytes, bits of the clocks' event reasons
 *   part UUID GPU FREE USED              a MIG instance of the GPU with this index
 *   process UUID PID BYTES|none KIND     KIND is compute or graphics
 *   error FUNCTION UUID|any CODE         what the function returns (for this GPU); a GPU of which it said 15, that is
 *                                        lost, stays lost until the library is closed and opened again
 *   hang FUNCTION SECONDS                how long it takes, or until the line is gone; FUNCTION is without version
 *
 * Built with OLD_DRIVER it lacks what a driver of 2021 lacks.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, LOST = 15, UNKNOWN = 999 };
enum { DEVICES = 16, PROCESSES = 64 };

#define NOT_AVAILABLE (~0ULL)

typedef unsigned long long u64;

struct device {
    char uuid[96];
    int whole; /* the GPU that it is a part of, or -1 */
    u64 free, used, reasons;
};

struct memory {
    u64 total, free, used;
};

struct process {
    unsigned pid;
    u64 used;
    unsigned gpu_instance, compute_instance;
};

struct listed {
    char uuid[96], kind[16];
    struct process process;
};

struct state {
    struct device devices[DEVICES];
    int known, gpus, listed;
    struct listed processes[PROCESSES];
    int error;
    double hang;
};

static int opened, lost;
static char lost_uuids[DEVICES][96];

/* What the file says now; errors and hangs are those of this function, for this device. */
static int look(struct state *state, const char *function, const char *uuid)
{
    char line[512], name[128], which[96], figure[32];
    memset(state, 0, sizeof *state);
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file)
        return -1;
    while (fgets(line, sizeof line, file)) {
        struct device *next = &state->devices[state->known];
        struct listed *entry = &state->processes[state->listed];
        int code;
        double seconds;
        if (state->known < DEVICES
            && sscanf(line, "gpu %95s %llu %llu %llu", next->uuid, &next->free, &next->used, &next->reasons) == 4) {
            next->whole = -1;
            state->known++;
            state->gpus++;
        } else if (state->known < DEVICES
                   && sscanf(line, "part %95s %d %llu %llu", next->uuid, &next->whole, &next->free, &next->used) == 4) {
            state->known++;
        } else if (state->listed < PROCESSES
                   && sscanf(line, "process %95s %u %31s %15s", entry->uuid, &entry->process.pid, figure, entry->kind)
                          == 4) {
            entry->process.used = strcmp(figure, "none") ? strtoull(figure, NULL, 10) : NOT_AVAILABLE;
            state->listed++;
        } else if (sscanf(line, "error %127s %95s %d", name, which, &code) == 3) {
            if (!strcmp(name, function) && (!strcmp(which, "any") || (uuid && !strcmp(which, uuid))))
                state->error = code;
        } else if (sscanf(line, "hang %127s %lf", name, &seconds) == 2 && !strcmp(name, function)) {
            state->hang = seconds;
        }
    }
    fclose(file);
    return 0;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

/* The state, after hanging as long as it says; the error that is to be returned. */
static int enter(struct state *state, const char *function, const char *uuid)
{
    const struct timespec moment = {0, 10 * 1000 * 1000};
    double begun = now();
    do {
        if (look(state, function, uuid))
            return UNKNOWN;
    } while (now() - begun < state->hang && !nanosleep(&moment, NULL));
    return state->error;
}

/* The same for a function of a device; handles are only good until the library is closed. */
static int enter_device(struct state *state, const char *function, const struct device *handle)
{
    if (!opened)
        return UNINITIALIZED;
    if (!handle)
        return INVALID;
    int error = enter(state, function, handle->uuid);
    for (int i = 0; i < lost; i++)
        if (!strcmp(lost_uuids[i], handle->uuid))
            return LOST;
    if (error == LOST && lost < DEVICES)
        strcpy(lost_uuids[lost++], handle->uuid);
    return error;
}

static const struct device *find(const struct state *state, const struct device *handle)
{
    for (int i = 0; i < state->known; i++)
        if (!strcmp(state->devices[i].uuid, handle->uuid))
            return &state->devices[i];
    return NULL;
}

/* A handle points to a copy that keeps the name: figures are looked up anew. */
static int give(const struct device *device, struct device **handle)
{
    *handle = malloc(sizeof *device);
    if (!*handle)
        return UNKNOWN;
    **handle = *device;
    return SUCCESS;
}

int nvmlInitWithFlags(unsigned flags)
{
    struct state state;
    int error = enter(&state, "nvmlInit", NULL);
    (void)flags;
    if (!error)
        opened++;
    return error;
}

int nvmlInit_v2(void)
{
    return nvmlInitWithFlags(0);
}

int nvmlShutdown(void)
{
    if (!opened)
        return UNINITIALIZED;
    if (!--opened)
        lost = 0;
    return SUCCESS;
}

const char *nvmlErrorString(int error)
{
    static char said[32];
    snprintf(said, sizeof said, "fake error %d", error);
    return said;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    struct state state;
    int error = opened ? enter(&state, "nvmlDeviceGetCount", NULL) : UNINITIALIZED;
    if (!error)
        *count = state.gpus;
    return error;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct device **handle)
{
    struct state state;
    unsigned seen = 0;
    int error = opened ? enter(&state, "nvmlDeviceGetHandleByIndex", NULL) : UNINITIALIZED;
    if (error)
        return error;
    for (int i = 0; i < state.known; i++)
        if (state.devices[i].whole < 0 && seen++ == index)
            return give(&state.devices[i], handle);
    return INVALID;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, struct device **handle)
{
    struct state state;
    int error = opened ? enter(&state, "nvmlDeviceGetHandleByUUID", uuid) : UNINITIALIZED;
    if (error)
        return error;
    for (int i = 0; i < state.known; i++)
        if (!strcmp(state.devices[i].uuid, uuid))
            return give(&state.devices[i], handle);
    return NOT_FOUND;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(const struct device *part, struct device **handle)
{
    if (!opened)
        return UNINITIALIZED;
    return part && part->whole >= 0 ? nvmlDeviceGetHandleByIndex_v2(part->whole, handle) : INVALID;
}

int nvmlDeviceGetUUID(const struct device *handle, char *uuid, unsigned length)
{
    struct state state;
    int error = enter_device(&state, "nvmlDeviceGetUUID", handle);
    if (!error)
        snprintf(uuid, length, "%s", handle->uuid);
    return error;
}

int nvmlDeviceGetMemoryInfo(const struct device *handle, struct memory *memory)
{
    struct state state;
    int error = enter_device(&state, "nvmlDeviceGetMemoryInfo", handle);
    const struct device *device = error ? NULL : find(&state, handle);
    if (error)
        return error;
    if (!device)
        return INVALID;
    memory->free = device->free;
    memory->used = device->used;
    memory->total = device->free + device->used;
    return SUCCESS;
}

/* As the real one: with too little room it says how much is wanted. */
static int list(const struct device *handle, const char *function, const char *kind, unsigned *room,
                struct process *found)
{
    struct state state;
    unsigned count = 0;
    int error = enter_device(&state, function, handle);
    if (error)
        return error;
    for (int i = 0; i < state.listed; i++) {
        struct listed *entry = &state.processes[i];
        if (strcmp(entry->uuid, handle->uuid) || strcmp(entry->kind, kind))
            continue;
        if (count < *room && found)
            found[count] = entry->process;
        count++;
    }
    error = count > *room ? TOO_SMALL : SUCCESS;
    *room = count;
    return error;
}

int nvmlDeviceGetComputeRunningProcesses_v2(const struct device *handle, unsigned *room, struct process *found)
{
    return list(handle, "nvmlDeviceGetComputeRunningProcesses", "compute", room, found);
}

static int reasons(const struct device *handle, const char *function, u64 *bits)
{
    struct state state;
    int error = enter_device(&state, function, handle);
    const struct device *device = error ? NULL : find(&state, handle);
    if (error)
        return error;
    if (!device)
        return INVALID;
    if (device->whole >= 0)
        return NOT_SUPPORTED;
    *bits = device->reasons;
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(const struct device *handle, u64 *bits)
{
    return reasons(handle, "nvmlDeviceGetCurrentClocksThrottleReasons", bits);
}

#ifndef OLD_DRIVER

int nvmlDeviceGetComputeRunningProcesses_v3(const struct device *handle, unsigned *room, struct process *found)
{
    return list(handle, "nvmlDeviceGetComputeRunningProcesses", "compute", room, found);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(const struct device *handle, unsigned *room, struct process *found)
{
    return list(handle, "nvmlDeviceGetGraphicsRunningProcesses", "graphics", room, found);
}

int nvmlDeviceGetCurrentClocksEventReasons(const struct device *handle, u64 *bits)
{
    return reasons(handle, "nvmlDeviceGetCurrentClocksEventReasons", bits);
}

#endif
