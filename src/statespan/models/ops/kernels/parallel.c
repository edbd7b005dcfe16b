/* Whose threads run tasks: see parallel.h. */
#include "parallel.h"

team_function run_team = 0;

/* Let `GOMP_parallel` of the OpenMP that torch uses, or nothing, lend its threads. */
void use_team(team_function team) {
    run_team = team;
}
