/* Run independent tasks on a few threads: those that torch has for its own operations, where its OpenMP lends
 * them (`use_team`), for they may still be spinning on the other cores after an operation of torch; and otherwise
 * threads that live for one call. */
#ifndef STATESPAN_PARALLEL_H
#define STATESPAN_PARALLEL_H

#include <pthread.h>
#include <stdint.h>

#define MOST_THREADS 64

typedef void (*task_function)(const void *arguments, int64_t task);

/* OpenMP's own entry: call run(data) on each of a team of at most `threads`, this one among them. */
typedef void (*team_function)(void (*run)(void *), void *data, unsigned threads, unsigned flags);

extern team_function run_team __attribute__((visibility("hidden")));

typedef struct {
    task_function run;
    const void *arguments;
    int64_t tasks;
    int64_t *next;
} work;

static void take_tasks(void *pointer) {
    work *mine = pointer;
    for (;;) {
        int64_t task = __atomic_fetch_add(mine->next, 1, __ATOMIC_RELAXED);
        if (task >= mine->tasks) return;
        mine->run(mine->arguments, task);
    }
}

static void *live_for_tasks(void *pointer) {
    take_tasks(pointer);
    return 0;
}

/* Call run(arguments, task) for every task from 0 to tasks - 1, in any order. */
static inline void run_tasks(
    task_function run, const void *arguments, int64_t tasks, int64_t threads
) {
    int64_t next = 0;
    work shared = {run, arguments, tasks, &next};
    if (threads > tasks) threads = tasks;
    if (threads > 1 && run_team) {
        run_team(take_tasks, &shared, (unsigned)threads, 0);
        return;
    }
    pthread_t others[MOST_THREADS];
    int64_t started = 0;
    while (started < threads - 1 && started < MOST_THREADS) {
        if (pthread_create(&others[started], 0, live_for_tasks, &shared)) break;
        started++;
    }
    take_tasks(&shared);
    for (int64_t thread = 0; thread < started; thread++) pthread_join(others[thread], 0);
}

#endif
