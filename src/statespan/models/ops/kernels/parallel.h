/* Run independent tasks on a few threads that live for one call: nothing spins in between, and a
 * process may fork at any time. */
#ifndef STATESPAN_PARALLEL_H
#define STATESPAN_PARALLEL_H

#include <pthread.h>
#include <stdint.h>

#define MOST_THREADS 64

typedef void (*task_function)(const void *arguments, int64_t task);

typedef struct {
    task_function run;
    const void *arguments;
    int64_t tasks;
    int64_t *next;
} work;

static void *take_tasks(void *pointer) {
    work *mine = pointer;
    for (;;) {
        int64_t task = __atomic_fetch_add(mine->next, 1, __ATOMIC_RELAXED);
        if (task >= mine->tasks) return 0;
        mine->run(mine->arguments, task);
    }
}

/* Call run(arguments, task) for every task from 0 to tasks - 1, in any order. */
static inline void run_tasks(
    task_function run, const void *arguments, int64_t tasks, int64_t threads
) {
    int64_t next = 0;
    work shared = {run, arguments, tasks, &next};
    pthread_t others[MOST_THREADS];
    int64_t started = 0;
    if (threads > tasks) threads = tasks;
    while (started < threads - 1 && started < MOST_THREADS) {
        if (pthread_create(&others[started], 0, take_tasks, &shared)) break;
        started++;
    }
    take_tasks(&shared);
    for (int64_t thread = 0; thread < started; thread++) pthread_join(others[thread], 0);
}

#endif
