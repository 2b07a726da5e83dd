"""The answer of GET /v1/ontology: everything that a form needs, in every language. Pure."""

from models.ontology import Ontology
from models.vocabulary import Vocabulary
from serve_app.naming import Names, Naming
from serve_app.schemas import AttributeResponse, CategoryResponse, LabelsResponse, OntologyResponse


def ontology_response(ontology: Ontology, names: Names, *, takes_feedback: bool) -> OntologyResponse:
    """Categories, attributes and values, what people call them, and whether they may be corrected."""
    return OntologyResponse(
        name=ontology.name,
        version=ontology.version,
        categories={
            category.name: CategoryResponse(
                attributes={
                    attribute.name: AttributeResponse(choice=attribute.choice, values=list(attribute.values))
                    for attribute in category.attributes.values()
                }
            )
            for category in ontology.categories.values()
        },
        languages={
            code: _labels(ontology, vocabulary, Naming(language=vocabulary))
            for code, vocabulary in names.languages.items()
        },
        profiles={
            name: _labels(ontology, vocabulary, Naming(profile=vocabulary))
            for name, vocabulary in names.profiles.items()
        },
        takes_feedback=takes_feedback,
    )


def _labels(ontology: Ontology, vocabulary: Vocabulary, naming: Naming) -> LabelsResponse:
    attributes: dict[str, str] = {}
    values: dict[str, dict[str, str]] = {}
    for category in ontology.categories.values():
        for attribute in category.attributes.values():
            attributes[attribute.name] = naming.attribute_label(attribute.name)
            for value in attribute.values:
                if naming.value(attribute.name, value) is not None:
                    values.setdefault(attribute.name, {})[value] = naming.value_label(attribute.name, value)
    return LabelsResponse(
        title=vocabulary.title,
        categories={name: naming.category_label(name) for name in ontology.category_names},
        attributes=attributes,
        values=values,
    )
