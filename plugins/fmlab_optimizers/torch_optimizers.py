"""Optimizers of torch, with their options by name. Their steps are dense: each moves every row of every table."""

from collections.abc import Iterable
from typing import Annotated

import torch
from torch import nn
from torch.optim import Optimizer

from fmlab.plugin.option import Range


def adamw(
    parameters: Iterable[nn.Parameter],
    *,
    lr: Annotated[float, Range(0, None, open_low=True), "step size"] = 1e-3,
    weight_decay: Annotated[float, Range(0, None), "share of the rate by which weights shrink at each step"] = 0.01,
    beta1: Annotated[float, Range(0, 1, open_high=True), "decay of the mean gradient"] = 0.9,
    beta2: Annotated[float, Range(0, 1, open_high=True), "decay of the mean squared gradient"] = 0.999,
    eps: Annotated[float, Range(0, None), "added to the root of the mean squared gradient"] = 1e-8,
    amsgrad: Annotated[bool, "divide by the largest mean squared gradient so far"] = False,
) -> Optimizer:
    """Adam whose weight decay shrinks the weights themselves.

    Paper: Loshchilov, Hutter, Decoupled weight decay regularization, ICLR 2019, algorithm 2.
    """
    return torch.optim.AdamW(
        parameters, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, amsgrad=amsgrad
    )


def nadam(
    parameters: Iterable[nn.Parameter],
    *,
    lr: Annotated[float, Range(0, None, open_low=True), "step size"] = 2e-3,
    weight_decay: Annotated[float, Range(0, None), "L2 on all parameters"] = 0.0,
    beta1: Annotated[float, Range(0, 1, open_high=True), "decay of the mean gradient"] = 0.9,
    beta2: Annotated[float, Range(0, 1, open_high=True), "decay of the mean squared gradient"] = 0.999,
    eps: Annotated[float, Range(0, None), "added to the root of the mean squared gradient"] = 1e-8,
) -> Optimizer:
    """Adam with Nesterov's momentum.

    Paper: Dozat, Incorporating Nesterov momentum into Adam, ICLR workshop 2016.
    """
    return torch.optim.NAdam(parameters, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)


def radam(
    parameters: Iterable[nn.Parameter],
    *,
    lr: Annotated[float, Range(0, None, open_low=True), "step size"] = 1e-3,
    weight_decay: Annotated[float, Range(0, None), "L2 on all parameters"] = 0.0,
    beta1: Annotated[float, Range(0, 1, open_high=True), "decay of the mean gradient"] = 0.9,
    beta2: Annotated[float, Range(0, 1, open_high=True), "decay of the mean squared gradient"] = 0.999,
    eps: Annotated[float, Range(0, None), "added to the root of the mean squared gradient"] = 1e-8,
) -> Optimizer:
    """Adam whose first steps are rectified for the few gradients that they have seen. No Riemannian optimizer.

    Paper: Liu et al., On the variance of the adaptive learning rate and beyond, ICLR 2020, algorithm 2.
    """
    return torch.optim.RAdam(parameters, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)


def adamax(
    parameters: Iterable[nn.Parameter],
    *,
    lr: Annotated[float, Range(0, None, open_low=True), "step size"] = 2e-3,
    weight_decay: Annotated[float, Range(0, None), "L2 on all parameters"] = 0.0,
    beta1: Annotated[float, Range(0, 1, open_high=True), "decay of the mean gradient"] = 0.9,
    beta2: Annotated[float, Range(0, 1, open_high=True), "decay of the largest gradient"] = 0.999,
    eps: Annotated[float, Range(0, None), "added to the largest gradient"] = 1e-8,
) -> Optimizer:
    """Adam that divides by the largest gradient.

    Paper: Kingma, Ba, Adam: a method for stochastic optimization, ICLR 2015, algorithm 2.
    """
    return torch.optim.Adamax(parameters, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)


def rmsprop(
    parameters: Iterable[nn.Parameter],
    *,
    lr: Annotated[float, Range(0, None, open_low=True), "step size"] = 1e-3,
    weight_decay: Annotated[float, Range(0, None), "L2 on all parameters"] = 0.0,
    decay: Annotated[float, Range(0, 1, open_high=True), "decay of the mean squared gradient"] = 0.99,
    momentum: Annotated[float, Range(0, 1, open_high=True), "share of the last step that is taken again"] = 0.0,
    eps: Annotated[float, Range(0, None), "added to the root of the mean squared gradient"] = 1e-8,
) -> Optimizer:
    """Gradients divided by the root of their mean square.

    Source: Tieleman, Hinton, Lecture 6.5: RMSProp, Neural networks for machine learning, 2012.
    """
    return torch.optim.RMSprop(parameters, lr=lr, alpha=decay, eps=eps, weight_decay=weight_decay, momentum=momentum)


def adadelta(
    parameters: Iterable[nn.Parameter],
    *,
    lr: Annotated[float, Range(0, None, open_low=True), "step size"] = 1.0,
    weight_decay: Annotated[float, Range(0, None), "L2 on all parameters"] = 0.0,
    decay: Annotated[float, Range(0, 1, open_high=True), "decay of the mean squares"] = 0.9,
    eps: Annotated[float, Range(0, None), "added to the mean squares"] = 1e-6,
) -> Optimizer:
    """Steps scaled by the root mean square of the steps before.

    Paper: Zeiler, ADADELTA: an adaptive learning rate method, 2012.
    """
    return torch.optim.Adadelta(parameters, lr=lr, rho=decay, eps=eps, weight_decay=weight_decay)


def momentum(
    parameters: Iterable[nn.Parameter],
    *,
    lr: Annotated[float, Range(0, None, open_low=True), "step size"] = 0.01,
    weight_decay: Annotated[float, Range(0, None), "L2 on all parameters"] = 0.0,
    momentum: Annotated[float, Range(0, 1, open_low=True, open_high=True), "share of the last step"] = 0.9,
    nesterov: Annotated[bool, "take the gradient where momentum leads"] = False,
) -> Optimizer:
    """Stochastic gradient descent with momentum; `sgd` is row-sparse and has none.

    Paper: Sutskever, Martens, Dahl, Hinton, On the importance of initialization and momentum in deep learning, ICML
    2013.
    """
    return torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov)
