/* The kernels that one larger operation calls; what they take is said where they are defined. */
#ifndef STATESPAN_RECURRENCES_H
#define STATESPAN_RECURRENCES_H

#include <stdint.h>

void causal_convolution_forward(
    const float *inputs, const float *weight, const float *bias, const uint8_t *tokens,
    float *outputs, float *window, int64_t inputs_row, int64_t inputs_time,
    int64_t batch, int64_t length, int64_t channels, int64_t width,
    int64_t rows_per_member, int64_t silu, int64_t parts, int64_t threads
);

void causal_convolution_backward(
    const float *inputs, const float *weight, const float *bias, const uint8_t *tokens,
    const float *window, const float *grad_outputs, const float *grad_last,
    float *grad_inputs, float *grad_weight, float *grad_bias, float *grad_window,
    int64_t inputs_row, int64_t inputs_time, int64_t grad_row, int64_t grad_time,
    int64_t grad_inputs_row, int64_t grad_inputs_time,
    int64_t batch, int64_t length, int64_t channels, int64_t width,
    int64_t rows_per_member, int64_t silu, int64_t parts, int64_t threads
);

void selective_scan_forward(
    const float *inputs, const float *delta, const float *transition, const float *write, const float *read,
    const float *skip, const float *gate, const float *bias, const uint8_t *tokens,
    float *outputs, float *last, float *starts,
    int64_t inputs_row, int64_t inputs_time, int64_t delta_row, int64_t delta_time,
    int64_t gate_row, int64_t gate_time, int64_t write_row, int64_t write_time, int64_t write_group,
    int64_t read_row, int64_t read_time, int64_t read_group,
    int64_t batch, int64_t length, int64_t channels, int64_t states, int64_t groups,
    int64_t rows_per_member, int64_t softplus_delta, int64_t parts, int64_t threads
);

void selective_scan_backward(
    const float *inputs, const float *delta, const float *transition, const float *write, const float *read,
    const float *skip, const float *gate, const float *bias, const uint8_t *tokens,
    const float *starts, const float *grad_outputs,
    float *grad_inputs, float *grad_delta, float *grad_transition, float *grad_write, float *grad_read,
    float *grad_skip, float *grad_gate, float *grad_bias, float *grad_state,
    int64_t inputs_row, int64_t inputs_time, int64_t delta_row, int64_t delta_time,
    int64_t gate_row, int64_t gate_time, int64_t write_row, int64_t write_time, int64_t write_group,
    int64_t read_row, int64_t read_time, int64_t read_group, int64_t grad_row, int64_t grad_time,
    int64_t grad_gate_row, int64_t grad_gate_time,
    int64_t batch, int64_t length, int64_t channels, int64_t states, int64_t groups,
    int64_t rows_per_member, int64_t softplus_delta, int64_t parts, int64_t threads
);

#endif
