"""Riemannian manifolds on stored coordinates, and the parameter that carries one."""
