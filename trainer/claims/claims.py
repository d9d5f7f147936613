"""The claims of the lectures, Y1 to Y22, in the order of the catalogue."""

from trainer.claims import (
    adaptive,
    backprop,
    batch_norm,
    descent,
    initialisation,
    momentum,
    regularisation,
    second_order,
)
from trainer.claims.claim import Claim

CLAIMS = (
    Claim(
        "Y1",
        "CU",
        "gradient descent with lr <= 1 / l on a convex loss: gap <= |w0 - w*|^2 / (2 lr n)",
        descent.bound_of_gradient_descent,
    ),
    Claim(
        "Y2",
        "CU",
        "SGD converges where the sum of its rates diverges and that of their squares does not",
        descent.schedules_by_their_sums,
    ),
    Claim(
        "Y3",
        "CSP",
        "averaged SGD with rates c / sqrt(t): gap <= (D^2 / c + c C^2 sqrt((t + 1) / t)) / sqrt(t)",
        descent.bound_of_averaged_sgd,
    ),
    Claim("Y4", "CSP", "gradient descent converges like 1 / k, SGD like 1 / sqrt(k)", descent.rates_of_convergence),
    Claim(
        "Y5",
        "CSP, CU",
        "the gradient of a mini-batch is an unbiased estimate of the full one",
        descent.unbiased_mini_batches,
    ),
    Claim("Y6", "CU", "backpropagation by hand through a 3-3-2 ReLU network", backprop.backprop_by_hand),
    Claim(
        "Y7",
        "SDU",
        "first-order predictions of a step fail in deep linear chains",
        backprop.first_order_prediction_by_depth,
    ),
    Claim(
        "Y8",
        "CU",
        "gradient of softmax and sigmoid cross-entropy: p - y",
        backprop.gradient_of_cross_entropies,
    ),
    Claim(
        "Y9",
        "231n",
        "dropout in training has the output of evaluation as its mean",
        regularisation.dropout_on_average,
    ),
    Claim(
        "Y10",
        "231n, SDU",
        "signals keep their variance with Xavier and tanh, He and ReLU; they die or saturate otherwise",
        initialisation.signals_through_wide_layers,
    ),
    Claim(
        "Y11",
        "SDU",
        "no gradient through batch norm only shifts or only scales its input",
        batch_norm.gradient_without_shift_and_scale,
    ),
    Claim(
        "Y12",
        "231n",
        "Adam's first step without bias correction is 3.16 times too large",
        adaptive.first_step_of_adam,
    ),
    Claim(
        "Y13",
        "CSP, 231n, PST, CU",
        "two forms of momentum: one path at a constant rate, two under a schedule",
        momentum.two_forms,
    ),
    Claim("Y14", "231n", "Nesterov's method after the change of variables", momentum.nesterov_rewritten),
    Claim(
        "Y15",
        "CSP, CU",
        "an L2 penalty is weight decay for SGD, not for momentum and Adam",
        regularisation.l2_penalty_and_weight_decay,
    ),
    Claim(
        "Y16",
        "231n, PST",
        "Adagrad's steps decay to zero; steep directions are damped, flat ones accelerated",
        adaptive.adagrad_in_a_narrow_valley,
    ),
    Claim(
        "Y17",
        "231n, PST",
        "batch norm can learn the identity",
        batch_norm.identity_of_gamma_and_beta,
    ),
    Claim("Y18", "231n, PST", "batch norm is linear at test time and can be fused", batch_norm.fused_at_test_time),
    Claim("Y19", "CU", "slopes of sigmoid, tanh and swish at 0", backprop.slopes_at_zero),
    Claim(
        "Y20",
        "231n",
        "L-BFGS works well on the full batch, badly on mini-batches",
        second_order.lbfgs_on_full_and_on_mini_batches,
    ),
    Claim(
        "Y21",
        "231n",
        "momentum is faster in ill-conditioned bowls and leaves saddle points sooner",
        momentum.ill_conditioned_bowl_and_saddle,
    ),
    Claim(
        "Y22",
        "CSP, 231n",
        "early stopping returns the weights of the best epoch",
        regularisation.early_stopping_returns_the_best,
    ),
)
BY_NUMBER = {claim.number: claim for claim in CLAIMS}
