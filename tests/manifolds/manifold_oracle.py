"""Hyperbolic geometry with 60 digits, straight from the definitions: the hyperboloid in ambient coordinates, and the
Möbius formulas of HyperML (equations 5 to 10) as printed. Vectors are lists of mpf."""

from mpmath import acosh, atanh, cosh, mp, mpf, sinh, sqrt, tanh

mp.dps = 60


def vec(tensor):
    return [mpf(float(a)) for a in tensor]


def add(a, b):
    return [p + q for p, q in zip(a, b, strict=True)]


def times(s, a):
    return [s * p for p in a]


def dot(a, b):
    return sum((p * q for p, q in zip(a, b, strict=True)), mpf(0))


def size(a):
    return sqrt(dot(a, a))


class Hyperboloid:
    """Points and vectors are given and returned by their space parts."""

    @staticmethod
    def lift(v):
        return [sqrt(1 + dot(v, v)), *v]

    @staticmethod
    def lift_tangent(v, u):
        return [dot(v, u) / sqrt(1 + dot(v, v)), *u]

    @staticmethod
    def product(a, b):
        return dot(a[1:], b[1:]) - a[0] * b[0]

    def dist(self, x, y):
        return acosh(max(mpf(1), -self.product(self.lift(x), self.lift(y))))

    def inner(self, x, u, w):
        return self.product(self.lift_tangent(x, u), self.lift_tangent(x, w))

    def exp(self, x, u):
        n = sqrt(self.inner(x, u, u))
        return times(cosh(n), x) if n == 0 else add(times(cosh(n), x), times(sinh(n) / n, u))

    def log(self, x, y):
        d = self.dist(x, y)
        return times(mpf(0), x) if d == 0 else times(d / sinh(d), add(y, times(-cosh(d), x)))

    def transport(self, x, y, u):
        big_x, big_y, big_u = self.lift(x), self.lift(y), self.lift_tangent(x, u)
        factor = self.product(big_y, big_u) / (1 - self.product(big_x, big_y))
        return add(big_u, times(factor, add(big_x, big_y)))[1:]

    def ambient_gradient(self, x, partials):
        """LorentzFM, equation 12: partials in all K coordinates, times the metric, projected on the tangent space."""
        big_x, h = self.lift(x), [-partials[0], *partials[1:]]
        return add(h, times(self.product(big_x, h), big_x))[1:]


class Ball:
    def __init__(self, c):
        self.c = mpf(c)

    def conformal(self, x):
        return 2 / (1 - self.c * dot(x, x))

    def add(self, x, y):
        c, xy, xx, yy = self.c, dot(x, y), dot(x, x), dot(y, y)
        top = add(times(1 + 2 * c * xy + c * yy, x), times(1 - c * xx, y))
        return times(1 / (1 + 2 * c * xy + c**2 * xx * yy), top)

    def scale(self, r, x):
        n = sqrt(self.c) * size(x)
        return times(tanh(r * atanh(n)) / n, x)

    def dist(self, x, y):
        return 2 / sqrt(self.c) * atanh(sqrt(self.c) * size(self.add(times(-1, x), y)))

    def inner(self, x, u, w):
        return self.conformal(x) ** 2 * dot(u, w)

    def exp(self, x, u):
        n = size(u)
        if n == 0:
            return x
        return self.add(x, times(tanh(sqrt(self.c) * self.conformal(x) * n / 2) / (sqrt(self.c) * n), u))

    def log(self, x, y):
        m = self.add(times(-1, x), y)
        n = size(m)
        return times(2 / (self.conformal(x) * sqrt(self.c)) * atanh(sqrt(self.c) * n) / n, m)

    def transport(self, x, y, u):
        """Gyration by its definition; it is linear, so `u` may be shrunk into the ball first."""
        a, b, small = y, times(-1, x), mpf(10) ** -20 / size(u)
        turned = self.add(times(-1, self.add(a, b)), self.add(a, self.add(b, times(small, u))))
        return times(self.conformal(x) / self.conformal(y) / small, turned)


def relative(exact, x, got, expected):
    """Length of the error of a vector at `x`, over the length of the expected one."""
    error = add(got, times(-1, expected))
    return sqrt(exact.inner(x, error, error) / exact.inner(x, expected, expected))
