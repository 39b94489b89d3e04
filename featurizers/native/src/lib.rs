//! The native reader: the bodies of a batch in, columns out, without a Python object per token and without the GIL.
//! The only `unsafe` is what PyO3's macros write.

#[forbid(unsafe_code)]
mod chat;
#[forbid(unsafe_code)]
mod decimal;
#[forbid(unsafe_code)]
mod scan;

use chat::Answer;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

#[pymodule]
mod secondlook_native {
    use super::*;

    /// What the reference must find here: another number means other columns.
    #[pymodule_export]
    const INTERFACE: u32 = 2;

    /// One answer's columns as a tuple; None where the body is left to the reference.
    #[pyfunction]
    fn read<'py>(py: Python<'py>, value: &Bound<'py, PyBytes>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        read_body(value.as_bytes()).map(|answer| columns(py, &answer)).transpose()
    }

    /// As `read`, for each of many; the GIL is free meanwhile.
    #[pyfunction]
    fn read_each<'py>(py: Python<'py>, values: Vec<Bound<'py, PyBytes>>) -> PyResult<Vec<Option<Bound<'py, PyTuple>>>> {
        let bodies: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
        let answers: Vec<Option<Answer>> = py.detach(|| bodies.into_iter().map(read_body).collect());
        answers.iter().map(|answer| answer.as_ref().map(|answer| columns(py, answer)).transpose()).collect()
    }
}

/// A panic would be a mistake of ours: it says so on stderr, and the answer is left to the reference.
fn read_body(value: &[u8]) -> Option<Answer> {
    std::panic::catch_unwind(|| chat::read(value)).ok().flatten()
}

fn columns<'py>(py: Python<'py>, answer: &Answer) -> PyResult<Bound<'py, PyTuple>> {
    (
        answer.request_id.as_deref(),
        answer.llm.as_deref(),
        PyString::from_bytes(py, &answer.text)?,
        answer.finish_reason.as_deref(),
        PyBytes::new(py, &answer.sizes),
        PyBytes::new(py, &answer.logprobs),
        PyBytes::new(py, &answer.counts),
        PyBytes::new(py, &answer.alternative_logprobs),
        PyBytes::new(py, &answer.alternatives),
        PyBytes::new(py, &answer.alternative_sizes),
    )
        .into_pyobject(py)
}
